"""Metrics of single pixels in two classes, object (white, positive) and membrane (black)."""

from __future__ import annotations

import numpy as np

from tiler.metrics.checks import same_shape
from tiler.metrics.statistics import Counts
from tiler.ports import Array


def pixel_counts(proposal: Array, labels: Array) -> Counts:
    """Count right and wrong pixels.

    Parameters
    ----------
    proposal, labels
        Any shape; above 0 is white, the positive class.

    Raises
    ------
    PlanError
        The shapes differ, or there are no pixels.
    """
    same_shape(proposal, labels)
    found, true = proposal > 0, labels > 0
    tp, positive, predicted = (int(np.count_nonzero(mask)) for mask in (found & true, true, found))
    return Counts(tp, predicted - tp, positive - tp, labels.size - predicted - positive + tp)


def pixel_error(proposal: Array, labels: Array) -> float:
    """Return the share of pixels that differ: 0 for equal images, 1 for inverted ones."""
    return pixel_counts(proposal, labels).disagreement
