"""Rand metrics: do two pixels belong together in the truth, and in the proposal?

The counts are exact integers for tables of any size.

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
    """Exact, also where it does not fit 64 bits."""
    if not sizes.size:
        return 0
    if int(sizes.max()) ** 2 * sizes.size < 2**63:
        return int(np.dot(sizes, sizes))
    return sum(size * size for size in sizes.tolist())


def choose_two(sizes: Voxels) -> int:
    """Unordered pairs within each of the sets: sum of ``n (n - 1) / 2``."""
    return (sum_of_squares(sizes) - int(sizes.sum())) // 2


def pairs_choose_two(overlaps: Overlaps) -> Counts:
    """Unordered pairs of different pixels: ``tp = sum C(c_ij, 2)``, ``tp + fp = sum C(b_j, 2)``, ``tp + fn = sum
    C(a_i, 2)``. Singletons make no pairs. The 2012 leader board takes 0 for an undefined precision or recall."""
    together = choose_two(overlaps.pairs)
    fp, fn = choose_two(overlaps.segments) - together, choose_two(overlaps.labels) - together
    total = overlaps.total * (overlaps.total - 1) // 2
    return Counts(together, fp, fn, total - together - fp - fn)


def pairs_squared(overlaps: Overlaps) -> Counts:
    """Ordered pairs, each pixel with itself too: ``tp = sum c_ij^2 + z``, ``tp + fp = sum b_j^2 + z``, ``tp + fn =
    sum a_i^2``, with z singletons. 0/0, hence NaN, for no pixels."""
    if not overlaps.total:
        return UNDEFINED
    together = sum_of_squares(overlaps.pairs) + overlaps.singletons
    fp = sum_of_squares(overlaps.segments) + overlaps.singletons - together
    fn = sum_of_squares(overlaps.labels) - together
    return Counts(together, fp, fn, overlaps.total**2 - together - fp - fn)


def rand_index(table: ContingencyTable) -> float:
    """Share of the pairs of pixels on which truth and proposal agree; label 0 and segment 0 are objects.

    1 for identical partitions; NaN for fewer than two pixels.
    """
    return pairs_choose_two(all_overlaps(table)).agreement


@dataclass(frozen=True, slots=True)
class AdaptedRand:
    """Adapted Rand error ``1 - 2 p r / (p + r)``.

    Parameters
    ----------
    precision
        Of the pairs joined by the proposal, the share that belongs together: falls with mergers.
    recall
        Of the pairs that belong together, the share joined by the proposal: falls with splits.

    Notes
    -----
    `skimage.metrics.adapted_rand_error` returns these two under each other's name.
    """

    precision: float
    recall: float

    @property
    def error(self) -> float:
        return 1 - harmonic_mean(self.precision, self.recall)


def adapted_rand(table: ContingencyTable) -> AdaptedRand:
    """Adapted Rand error of the foreground, N-squared; voxels of segment 0 are a segment each of their own.

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
