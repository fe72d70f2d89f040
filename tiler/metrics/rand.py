"""Rand metrics: whether pairs of pixels belong together, in the truth and in the proposal.

Counts are exact integers for tables of any size.

References
----------
Rand (1971), 10.1080/01621459.1971.10482356; foreground-restricted and normalised by the square of the number of
pixels: Arganda-Carreras et al. (2015), 10.3389/fnana.2015.00142.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiler.metrics.contingency import (
    ContingencyTable,
    Overlaps,
    Voxels,
    all_overlaps,
    foreground_overlaps,
    require_foreground,
)
from tiler.metrics.statistics import UNDEFINED, Counts, harmonic_mean


def sum_of_squares(sizes: Voxels) -> int:
    """Return the exact sum of squares, even if it exceeds 64 bits."""
    if not sizes.size:
        return 0
    if int(sizes.max()) ** 2 * sizes.size < 2**63:
        return int(np.dot(sizes, sizes))
    return sum(size * size for size in sizes.tolist())


def choose_two(sizes: Voxels) -> int:
    """Count the unordered pairs within each set, the sum of ``n (n - 1) / 2``."""
    return (sum_of_squares(sizes) - int(sizes.sum())) // 2


def pairs_choose_two(overlaps: Overlaps) -> Counts:
    """Count unordered pairs of different pixels, as on the 2012 leader board.

    ``tp = sum C(c_ij, 2)``, ``tp + fp = sum C(b_j, 2)``, ``tp + fn = sum C(a_i, 2)``. Singletons form no pairs. The
    leader board takes 0 for an undefined precision or recall.
    """
    together = choose_two(overlaps.pairs)
    fp, fn = choose_two(overlaps.segments) - together, choose_two(overlaps.labels) - together
    total = overlaps.total * (overlaps.total - 1) // 2
    return Counts(together, fp, fn, total - together - fp - fn)


def pairs_squared(overlaps: Overlaps) -> Counts:
    """Count ordered pairs, including each pixel with itself; NaN if there are no pixels.

    ``tp = sum c_ij^2 + z``, ``tp + fp = sum b_j^2 + z``, ``tp + fn = sum a_i^2``, with z singletons. One object of 4
    pixels in segments of 3 and 1: tp = 9 + 1, fp = 0, fn = 16 - 10 = 6.
    """
    if not overlaps.total:
        return UNDEFINED
    together = sum_of_squares(overlaps.pairs) + overlaps.singletons
    fp = sum_of_squares(overlaps.segments) + overlaps.singletons - together
    fn = sum_of_squares(overlaps.labels) - together
    return Counts(together, fp, fn, overlaps.total**2 - together - fp - fn)


def rand_index(table: ContingencyTable) -> float:
    """Return the share of pairs of pixels on which truth and proposal agree; label 0 and segment 0 are objects.

    It is 1 for identical partitions and NaN for fewer than two pixels.

    References
    ----------
    Rand (1971), 10.1080/01621459.1971.10482356.
    """
    return pairs_choose_two(all_overlaps(table)).agreement


@dataclass(frozen=True, slots=True)
class AdaptedRand:
    """Adapted Rand error ``1 - 2 p r / (p + r)``.

    Parameters
    ----------
    precision
        Share of the pairs joined by the proposal that belong together; falls with mergers.
    recall
        Share of the pairs that belong together that the proposal joins; falls with splits.

    Notes
    -----
    `skimage.metrics.adapted_rand_error` swaps these two names.
    """

    precision: float
    recall: float

    @property
    def error(self) -> float:
        return 1 - harmonic_mean(self.precision, self.recall)


def adapted_rand(table: ContingencyTable) -> AdaptedRand:
    """Compute the N-squared adapted Rand error of the foreground; each voxel of segment 0 is its own segment.

    Raises
    ------
    PlanError
        The labels hold no object.

    References
    ----------
    Arganda-Carreras et al. (2015), 10.3389/fnana.2015.00142; the SNEMI3D challenge.
    """
    overlaps = foreground_overlaps(table)
    require_foreground(table.only(table.labels > 0))
    counts = pairs_squared(overlaps)
    return AdaptedRand(counts.precision(), counts.recall())
