"""Losses of classifiers whose attention is guided.

K. Li et al.: Tell Me Where to Look: Guided Attention Inference Network, doi:10.48550/arXiv.1802.10171.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def guided_attention_loss(
    scores: torch.Tensor, classes: torch.Tensor, attention: torch.Tensor, mask: torch.Tensor, share: float = 0.1
) -> torch.Tensor:
    """Scalar: ``(1 - share)`` cross-entropy plus ``share`` of the mean squared error of the attention map.

    Parameters
    ----------
    scores, classes
        ``(n, k)`` float, and ``(n,)`` int64.
    attention
        ``(n, 1, y', x')`` in [0, 1]; it is interpolated to the mask [choice].
    mask
        ``(n, 1, y, x)`` in {0, 1}; all 0 for an image without a lesion.
    share
        0.1, as the review has it.
    """
    spread = F.interpolate(attention, size=mask.shape[2:], mode="bilinear", align_corners=False)
    return (1 - share) * F.cross_entropy(scores, classes) + share * F.mse_loss(spread, mask)


def soft_mask(attention: torch.Tensor, sigma: float = 0.5, omega: float = 10.0) -> torch.Tensor:
    """``1 / (1 + exp(-omega (A - sigma)))``: a threshold at sigma that has a gradient."""
    return torch.sigmoid(omega * (attention - sigma))


def without_attended(
    image: torch.Tensor, attention: torch.Tensor, sigma: float = 0.5, omega: float = 10.0
) -> torch.Tensor:
    """``(n, c, y, x)``: the image minus what the network attends to, which a classifier should find nothing in."""
    spread = F.interpolate(attention, size=image.shape[2:], mode="bilinear", align_corners=False)
    return image * (1 - soft_mask(spread, sigma, omega))


def attention_mining_loss(scores_without: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Scalar: mean probability of the true class on images `without_attended`: nothing of it should be left.

    The original takes the raw score, which has no lower bound; the probability is what the implementations use.
    """
    return scores_without.softmax(1).gather(1, classes[:, None]).mean()
