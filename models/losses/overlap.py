"""Losses that count overlapping pixels: Dice and IoU, and the hybrid loss of U-Net++."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def dice(probability: torch.Tensor, target: torch.Tensor, smooth: float = 1e-5) -> torch.Tensor:
    """Compute ``(2 sum(p g) + s) / (sum p + sum g + s)`` for every image, ``(n,)``; two empty masks give 1.

    Three of four found pixels right, six in the truth: ``2 * 3 / (4 + 6) = 0.6``.
    """
    axes = tuple(range(1, target.ndim))
    both = (probability * target).sum(axes)
    return (2 * both + smooth) / (probability.sum(axes) + target.sum(axes) + smooth)


def iou_loss(scores: torch.Tensor, target: torch.Tensor, smooth: float = 1e-5) -> torch.Tensor:
    """Compute 1 - IoU of sigmoid probabilities, mean over the images; a scalar.

    The IoU is ``(sum(p g) + s) / (sum p + sum g - sum(p g) + s)``. Without smoothing, as in the code of UNet 3+, an
    empty mask that is predicted as empty gives 0 / 0.
    """
    probability, axes = scores.sigmoid(), tuple(range(1, target.ndim))
    both = (probability * target).sum(axes)
    union = probability.sum(axes) + target.sum(axes) - both
    return 1 - ((both + smooth) / (union + smooth)).mean()


def bce_dice_loss(scores: torch.Tensor, target: torch.Tensor, smooth: float = 1e-5) -> torch.Tensor:
    """Compute half the binary cross-entropy plus 1 - Dice of each image: the U-Net++ loss in its common form."""
    cross_entropy = F.binary_cross_entropy_with_logits(scores, target)
    return 0.5 * cross_entropy + 1 - dice(scores.sigmoid(), target, smooth).mean()


def bce_dice_loss_of_batch(scores: torch.Tensor, target: torch.Tensor, smooth: float = 1.0) -> torch.Tensor:
    """Compute half the binary cross-entropy minus the Dice of the whole batch, as in the authors' repository.

    The batch counts as one image, so the weight of a pixel depends on the rest of its batch. The least value is -1.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(scores, target)
    return 0.5 * cross_entropy - dice(scores.sigmoid()[None], target[None], smooth).mean()


def bce_dice_loss_as_printed(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute ``-mean(0.5 g log p + 2 sum(p g) / (sum p + sum g))`` over the images, as printed in the U-Net++ paper.

    Only foreground enters the cross-entropy, here as a mean over the pixels [choice]. For an empty mask the loss is 0
    whatever the network predicts, so the network learns nothing from it.

    References
    ----------
    Z. Zhou et al., UNet++ (2018), equation 3, 10.1007/978-3-030-00889-5_1.
    """
    target, scores = target.flatten(1), scores.flatten(1)
    foreground, probability = (target * F.logsigmoid(scores)).mean(1), scores.sigmoid()
    total = (probability + target).sum(1).clamp(min=torch.finfo(scores.dtype).tiny)
    return -(0.5 * foreground + 2 * (probability * target).sum(1) / total).mean()
