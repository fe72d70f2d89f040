"""Contingency tables of two label images, from which Rand and information metrics follow; additive over blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from tiler.errors import PlanError
from tiler.metrics.checks import identifiers, is_void
from tiler.ports import Array

Ids = npt.NDArray[np.uint64]
Voxels = npt.NDArray[np.int64]

PIECE = 1 << 22  # voxels counted at once, which limits the extra memory for a block
DENSE = 1 << 20  # tables of up to this many cells are counted as a matrix


@dataclass(frozen=True, eq=False)
class ContingencyTable:
    """Number of voxels with each pair of a label and a segment; sparse, for volumes of any size.

    Parameters
    ----------
    labels
        uint64 ids of the truth, ascending; one entry for each pair that occurs.
    segments
        uint64 ids of the proposal, ascending for equal labels.
    counts
        int64 voxels of each pair, all above 0.
    void
        Number of voxels that were left out because their label is not scored.

    Notes
    -----
    ``ContingencyTable.of(a, b) + ContingencyTable.of(c, d)`` is the table of both blocks together, so a volume can be
    cut anywhere.
    """

    labels: Ids
    segments: Ids
    counts: Voxels
    void: int = 0

    @classmethod
    def of(cls, labels: Array, segments: Array, void: Iterable[int] = ()) -> ContingencyTable:
        """Count one block.

        Parameters
        ----------
        labels, segments
            Truth and proposal. Any equal shape; integers from 0, or floats that hold such integers.
        void
            Labels of voxels that are not scored; any integers. They are left out before ids are checked.

        Raises
        ------
        PlanError
            The shapes differ, or an array does not hold ids.
        """
        if labels.shape != segments.shape:
            raise PlanError(f"labels of shape {labels.shape} and segments of shape {segments.shape} do not "
                            "overlap: the shapes must be equal")
        left_out = is_void(labels, void)
        if left_out.any():
            labels, segments = labels[~left_out], segments[~left_out]
        turned = labels.flags.f_contiguous and segments.flags.f_contiguous
        order: Literal["F", "C"] = "F" if turned else "C"
        true = identifiers(labels, "labels").ravel(order)
        found = identifiers(segments, "segments of the proposal").ravel(order)
        table = cls.empty()
        for start in range(0, labels.size, PIECE):
            table += cls._of_piece(true[start:start + PIECE], found[start:start + PIECE])
        return replace(table, void=int(np.count_nonzero(left_out)))

    @classmethod
    def empty(cls) -> ContingencyTable:
        """Return the table of no voxels, the start of a sum."""
        return cls(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64))

    @classmethod
    def _of_piece(cls, labels: Array, segments: Array) -> ContingencyTable:
        width = int(segments.max()) + 1
        cells = (int(labels.max()) + 1) * width
        if cells <= max(DENSE, 2 * labels.size):
            pairs = labels.astype(np.intp)
            pairs *= width
            pairs += segments.astype(np.intp, copy=False)
            counts = np.bincount(pairs)
            found = np.flatnonzero(counts)
            return cls((found // width).astype(np.uint64), (found % width).astype(np.uint64), counts[found])
        # Neighbours mostly have the same pair, so sorting runs of equal pairs is cheaper than sorting voxels.
        starts = np.flatnonzero((labels[1:] != labels[:-1]) | (segments[1:] != segments[:-1])) + 1
        starts = np.concatenate(([0], starts))
        lengths = np.diff(starts, append=labels.size)
        return cls._merged(labels[starts].astype(np.uint64), segments[starts].astype(np.uint64), lengths)

    @classmethod
    def _merged(cls, labels: Ids, segments: Ids, counts: Voxels) -> ContingencyTable:
        """Add up the counts of equal pairs."""
        order = np.lexsort((segments, labels))
        labels, segments, counts = labels[order], segments[order], counts[order]
        first = np.concatenate(([True], (labels[1:] != labels[:-1]) | (segments[1:] != segments[:-1])))
        return cls(labels[first], segments[first], np.add.reduceat(counts, np.flatnonzero(first)))

    def __add__(self, other: ContingencyTable) -> ContingencyTable:
        return replace(self._joined(other), void=self.void + other.void)

    def _joined(self, other: ContingencyTable) -> ContingencyTable:
        if not self.counts.size or not other.counts.size:
            return self if self.counts.size else other
        return self._merged(np.concatenate((self.labels, other.labels)),
                            np.concatenate((self.segments, other.segments)),
                            np.concatenate((self.counts, other.counts)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContingencyTable) and self.void == other.void and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("labels", "segments", "counts"))

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def total(self) -> int:
        """Number of voxels."""
        return int(self.counts.sum())

    def transposed(self) -> ContingencyTable:
        """Return the table with truth and proposal exchanged."""
        return self._merged(self.segments, self.labels, self.counts) if self.counts.size else self

    def only(self, chosen: npt.NDArray[np.bool_]) -> ContingencyTable:
        """Return the entries where a mask is true."""
        return replace(self, labels=self.labels[chosen], segments=self.segments[chosen], counts=self.counts[chosen])

    def without_labels(self, *ids: int) -> ContingencyTable:
        """Return the table of the voxels whose label is not among these."""
        return self.only(~np.isin(self.labels, np.array(ids, np.uint64)))

    def label_sizes(self) -> tuple[Ids, Voxels]:
        """Return all labels, ascending, and their voxels."""
        return sums_by(self.labels, self.counts)

    def segment_sizes(self) -> tuple[Ids, Voxels]:
        """Return all segments, ascending, and their voxels."""
        return sums_by(self.segments, self.counts)


def sums_by(ids: Ids, counts: Voxels) -> tuple[Ids, Voxels]:
    """Return the distinct ids, ascending, and the sum of the counts of each."""
    if not ids.size:
        return ids, counts
    order = np.argsort(ids, kind="stable")
    ids, counts = ids[order], counts[order]
    first = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
    return ids[first], np.add.reduceat(counts, first)


@dataclass(frozen=True, slots=True)
class Overlaps:
    """The counts of a contingency table, without the ids.

    Parameters
    ----------
    pairs
        Voxels of each pair of an object and a segment.
    labels, segments
        Voxels of each object, and of each segment.
    singletons
        Number of voxels that are segments of their own.
    """

    pairs: Voxels
    labels: Voxels
    segments: Voxels
    singletons: int = 0

    @property
    def total(self) -> int:
        return int(self.labels.sum())


def all_overlaps(table: ContingencyTable) -> Overlaps:
    """Return the overlaps of all pairs; label 0 and segment 0 are objects like the others."""
    return Overlaps(table.counts, table.label_sizes()[1], table.segment_sizes()[1])


def foreground_overlaps(table: ContingencyTable) -> Overlaps:
    """Return the overlaps in the foreground of the truth; each voxel of segment 0 is a segment of its own."""
    truth = table.only(table.labels > 0)
    found = truth.only(truth.segments > 0)
    singletons = truth.total - found.total
    return Overlaps(found.counts, truth.label_sizes()[1], found.segment_sizes()[1], singletons)


def require_foreground(table: ContingencyTable) -> None:
    """Refuse a table without voxels, whose Rand and information scores would be 0/0.

    Raises
    ------
    PlanError
        No voxel is labelled.
    """
    if not table.total:
        raise PlanError("there is nothing to score: the labels hold no object, every voxel is background "
                        "(choose another part with `slices` or `roi`)")
