"""Cross-entropy of every pixel's class, with pixels that count for nothing."""

from __future__ import annotations

import torch
from torch.nn import functional as F

IGNORED = 255
"""Label of pixels without a class."""


def multinomial_loss(
    scores: torch.Tensor, classes: torch.Tensor, ignored: int = IGNORED, normalised: bool = True
) -> torch.Tensor:
    """Scalar: ``-log p`` of the true class, over all pixels that have one.

    Parameters
    ----------
    scores
        ``(n, k, y, x)`` float.
    classes
        ``(n, y, x)`` int64.
    ignored
        Label that counts for nothing.
    normalised
        Mean over the pixels; where no pixel has a class it is 0. Without it the sum, which the FCN recipe with a
        momentum of 0.99 and a learning rate of 1e-10 takes.
    """
    total = F.cross_entropy(scores, classes, ignore_index=ignored, reduction="sum")
    return total / (classes != ignored).sum().clamp(min=1) if normalised else total
