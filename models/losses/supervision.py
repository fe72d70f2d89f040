"""Losses for networks with several outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from tiler.models.losses.focal import focal_loss
from tiler.models.losses.ms_ssim import ms_ssim_loss
from tiler.models.losses.overlap import iou_loss

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def deep_supervision(outputs: Sequence[torch.Tensor], target: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Average the loss over all outputs ``(n, k, y, x)``, each against the same target; a scalar."""
    return torch.stack([loss(scores, target) for scores in outputs]).mean()


def full_scale_loss(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute focal + MS-SSIM + IoU loss in equal parts, as UNet 3+ does for every side output; a scalar.

    References
    ----------
    H. Huang et al., UNet 3+ (2020), section 2.3, 10.48550/arXiv.2004.08790.
    """
    return focal_loss(scores, target) + ms_ssim_loss(scores, target) + iou_loss(scores, target)


def presence_loss(presence: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute the binary cross-entropy of the guidance module's two scores, mean over images; a scalar.

    Parameters
    ----------
    presence
        ``(n, 2)`` scores of "nothing there" and "something there".
    target
        ``(n, k, y, x)``; "something there" means that any pixel is 1.
    """
    there = target.flatten(1).amax(1)
    return F.binary_cross_entropy_with_logits(presence, torch.stack([1 - there, there], 1).to(presence.dtype))
