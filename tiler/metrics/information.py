"""Information-theoretic metrics: how much proposal and truth tell about each other.

References
----------
Meila, Comparing clusterings: an information based distance (2007), 10.1016/j.jmva.2006.11.013; the
foreground-restricted score: Arganda-Carreras et al. (2015), 10.3389/fnana.2015.00142.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tiler.metrics.contingency import ContingencyTable, Overlaps, Voxels, all_overlaps, require_foreground
from tiler.metrics.statistics import NAN, harmonic_mean

ROUNDING = 1e-12  # a smaller entropy counts as 0: there is a single object


@dataclass(frozen=True, slots=True)
class Information:
    """Entropies of truth T and proposal S, in nats.

    Parameters
    ----------
    labels, segments, joint
        Entropies H(T), H(S) and H(T, S).
    """

    labels: float
    segments: float
    joint: float

    @property
    def mutual(self) -> float:
        return self.labels + self.segments - self.joint

    @property
    def split(self) -> float:
        """H(S|T), which grows with splits."""
        return self.joint - self.labels

    @property
    def merge(self) -> float:
        """H(T|S), which grows with mergers."""
        return self.joint - self.segments

    @property
    def variation(self) -> float:
        """Variation of information, H(S|T) + H(T|S)."""
        return self.split + self.merge

    @property
    def precision(self) -> float:
        """I / H(T); by convention 0 if the truth is one object, else 1 if the proposal is one object."""
        if abs(self.labels) < ROUNDING:
            return 0.0
        return 1.0 if abs(self.segments) < ROUNDING else self.mutual / self.labels

    @property
    def recall(self) -> float:
        """I / H(S); by convention 1 if the truth is one object, else 0 if the proposal is one object."""
        if abs(self.labels) < ROUNDING:
            return 1.0
        return 0.0 if abs(self.segments) < ROUNDING else self.mutual / self.segments

    @property
    def f_score(self) -> float:
        """2 I / (H(T) + H(S)); 0 if either entropy is 0, even for a perfect single object."""
        return harmonic_mean(self.precision, self.recall)


def entropy(sizes: Voxels, total: int) -> float:
    """Compute ``-sum p ln p`` in nats, where p is the share of each set in ``total`` voxels."""
    shares = sizes / total  # two sets of 3 and 1 in 4: -(0.75 ln 0.75 + 0.25 ln 0.25) = 0.562
    return -float((shares * np.log(shares)).sum())


def information(overlaps: Overlaps) -> Information:
    """Compute the entropies of truth and proposal; a singleton counts as a segment of one pixel.

    Without any pixels H(T) is 0 and the rest is 0/0, that is NaN.

    References
    ----------
    Arganda-Carreras et al. (2015), appendix, 10.3389/fnana.2015.00142.
    """
    n = overlaps.total
    if not n:
        return Information(0.0, NAN, NAN)
    alone = overlaps.singletons / n * math.log(n)
    return Information(entropy(overlaps.labels, n), entropy(overlaps.segments, n) + alone,
                       entropy(overlaps.pairs, n) + alone)


@dataclass(frozen=True, slots=True)
class VariationOfInformation:
    """Conditional entropies in bits; their sum is a metric on partitions.

    Parameters
    ----------
    split
        H(S|T), caused by over-segmentation.
    merge
        H(T|S), caused by under-segmentation.
    """

    split: float
    merge: float

    @property
    def total(self) -> float:
        return self.split + self.merge


def variation_of_information(table: ContingencyTable) -> VariationOfInformation:
    """Compute the variation of information over all voxels of a table, in bits; label 0 and segment 0 are objects.

    To leave out voxels, such as the background of the truth in CREMI, use `ContingencyTable.without_labels`.

    Raises
    ------
    PlanError
        The table is empty.
    """
    require_foreground(table)
    found = information(all_overlaps(table))
    return VariationOfInformation(found.split / math.log(2), found.merge / math.log(2))
