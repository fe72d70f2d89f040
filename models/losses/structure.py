"""The loss of ESFPNet: cross-entropy and an IoU in which the pixels near an edge count most."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def edge_weights(target: torch.Tensor, window: int = 15) -> torch.Tensor:
    """``(n, k, y, x)``: ``1 + 5 |mean over a square window - target|``, from 1 in the flat to nearly 6 at a corner."""
    near = F.avg_pool2d(target, window, stride=1, padding=window // 2)
    return 1 + 5 * (near - target).abs()


def structure_loss(
    scores: torch.Tensor, target: torch.Tensor, window: int = 15, weighted_entropy: bool = False
) -> torch.Tensor:
    """Scalar: cross-entropy plus edge-weighted IoU loss, mean over images and channels.

    Parameters
    ----------
    scores, target
        ``(n, k, y, x)``.
    window
        Of `edge_weights`; zeros count where it leaves the image, as published.
    weighted_entropy
        Weight the cross-entropy too. The published code is written as if it did, but takes the mean over all
        pixels first, so what it computes is plain cross-entropy: that is the default.

    Notes
    -----
    ``1 - (I + 1) / (U - I + 1)`` with the weighted sums ``I`` of products and ``U`` of probability plus target.
    Q. Chang et al.: ESFPNet, doi:10.3390/jimaging10080191.
    """
    weights = edge_weights(target, window)
    entropy = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
    if weighted_entropy:
        entropy = (weights * entropy).sum((2, 3)) / weights.sum((2, 3))
    probability = scores.sigmoid()
    both = (probability * target * weights).sum((2, 3))
    total = ((probability + target) * weights).sum((2, 3))
    return entropy.mean() + (1 - (both + 1) / (total - both + 1)).mean()
