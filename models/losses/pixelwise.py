"""Cross-entropy over the classes of pixels; pixels can be ignored."""

from __future__ import annotations

import torch
from torch.nn import functional as F

IGNORED = 255
"""Label of ignored pixels."""


def multinomial_loss(
    scores: torch.Tensor, classes: torch.Tensor, ignored: int = IGNORED, normalised: bool = True
) -> torch.Tensor:
    """Compute ``-log p`` of the true class over all pixels that are not ignored; a scalar.

    Parameters
    ----------
    scores
        ``(n, k, y, x)`` float.
    classes
        ``(n, y, x)`` int64.
    ignored
        Label of pixels that do not count.
    normalised
        Whether to take the mean over the pixels (0 if all are ignored) or their sum. The FCN recipe with a momentum
        of 0.99 and a learning rate of 1e-10 takes the sum.

    References
    ----------
    J. Long, E. Shelhamer, T. Darrell, Fully convolutional networks (2015), section 3.3, 10.1109/CVPR.2015.7298965.
    """
    total = F.cross_entropy(scores, classes, ignore_index=ignored, reduction="sum")
    return total / (classes != ignored).sum().clamp(min=1) if normalised else total
