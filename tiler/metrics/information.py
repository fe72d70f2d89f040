"""Information-theoretic metrics: how much does the proposal tell about the truth, and the truth about it?

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

ROUNDING = 1e-12  # an entropy below it is 0: one object only


@dataclass(frozen=True, slots=True)
class Information:
    """Entropies of truth T and proposal S, in nats.

    Parameters
    ----------
    labels, segments, joint
        H(T), H(S), H(T, S).
    """

    labels: float
    segments: float
    joint: float

    @property
    def mutual(self) -> float:
        return self.labels + self.segments - self.joint

    @property
    def split(self) -> float:
        """H(S|T): what splits add."""
        return self.joint - self.labels

    @property
    def merge(self) -> float:
        """H(T|S): what mergers lose."""
        return self.joint - self.segments

    @property
    def variation(self) -> float:
        """Variation of information, split and merge together."""
        return self.split + self.merge

    @property
    def precision(self) -> float:
        """I / H(T); by convention 0 and 1 where the truth, or else the proposal, is one object."""
        if abs(self.labels) < ROUNDING:
            return 0.0
        return 1.0 if abs(self.segments) < ROUNDING else self.mutual / self.labels

    @property
    def recall(self) -> float:
        """I / H(S); by convention 1 and 0 where the truth, or else the proposal, is one object."""
        if abs(self.labels) < ROUNDING:
            return 1.0
        return 0.0 if abs(self.segments) < ROUNDING else self.mutual / self.segments

    @property
    def f_score(self) -> float:
        """2 I / (H(T) + H(S)); 0 where either entropy is 0, also for a perfect single object."""
        return harmonic_mean(self.precision, self.recall)


def entropy(sizes: Voxels, total: int) -> float:
    """``-sum p ln p`` of sets of these sizes among ``total``."""
    shares = sizes / total
    return -float((shares * np.log(shares)).sum())


def information(overlaps: Overlaps) -> Information:
    """Entropies of truth and proposal; a singleton counts as a segment of one pixel.

    For no pixels the truth has entropy 0 and the rest is 0/0, hence NaN.
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
        H(S|T), over-segmentation.
    merge
        H(T|S), under-segmentation.
    """

    split: float
    merge: float

    @property
    def total(self) -> float:
        return self.split + self.merge


def variation_of_information(table: ContingencyTable) -> VariationOfInformation:
    """Variation of information of all voxels of a table; label 0 and segment 0 are objects like the others.

    Leave out voxels with `ContingencyTable.without_labels`, as CREMI does with the background of the truth.

    Raises
    ------
    PlanError
        The table is empty.
    """
    require_foreground(table)
    found = information(all_overlaps(table))
    return VariationOfInformation(found.split / math.log(2), found.merge / math.log(2))
