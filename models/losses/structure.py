"""The loss of ESFPNet: cross-entropy plus an IoU in which pixels near an edge count most."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def edge_weights(target: torch.Tensor, window: int = 15) -> torch.Tensor:
    """Compute ``1 + 5 |mean over a square window - target|``, shape ``(n, k, y, x)``.

    It is 1 in flat regions, ``1 + 5 * 0.5 = 3.5`` at a straight edge and nearly 6 at a thin tip.
    """
    near = F.avg_pool2d(target, window, stride=1, padding=window // 2)
    return 1 + 5 * (near - target).abs()


def structure_loss(
    scores: torch.Tensor, target: torch.Tensor, window: int = 15, weighted_entropy: bool = False
) -> torch.Tensor:
    """Compute cross-entropy plus edge-weighted IoU loss, mean over images and channels; a scalar.

    Parameters
    ----------
    scores, target
        ``(n, k, y, x)``.
    window
        Side of the window of `edge_weights` in pixels, odd; outside the image are zeros, as published.
    weighted_entropy
        Whether to weight the cross-entropy too. The published code looks as if it did, but it averages over all
        pixels first and so computes plain cross-entropy, which is the default here.

    Notes
    -----
    The IoU loss is ``1 - (I + 1) / (U - I + 1)``, where ``I`` is the weighted sum of the products and ``U`` that of
    probability plus target.

    References
    ----------
    Q. Chang et al., ESFPNet (2024), 10.3390/jimaging10080191.
    """
    weights = edge_weights(target, window)
    entropy = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
    if weighted_entropy:
        entropy = (weights * entropy).sum((2, 3)) / weights.sum((2, 3))
    probability = scores.sigmoid()
    both = (probability * target * weights).sum((2, 3))
    total = ((probability + target) * weights).sum((2, 3))
    return entropy.mean() + (1 - (both + 1) / (total - both + 1)).mean()
