"""Panoptic quality of objects (things) and regions (stuff) in several classes, with void.

Two segments of a class match if their IoU exceeds one half; voxels of the proposal on void are left out of the union.
An unmatched segment does not count as false if more than half of it lies on void or on a crowd of its class.

References
----------
Kirillov et al., Panoptic segmentation (2019), 10.1109/CVPR.2019.00963, with the rules of its published evaluation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tiler.errors import PlanError
from tiler.metrics.contingency import ContingencyTable
from tiler.metrics.statistics import NAN, Counts

VOID = 0
NOTHING = Counts(0, 0, 0, 0)


@dataclass(frozen=True)
class Segments:
    """Classes of the ids of one image.

    Parameters
    ----------
    classes
        Class of each id; id 0 is void.
    crowds
        Ids that stand for a group of objects that the truth does not separate.
    """

    classes: Mapping[int, int]
    crowds: Collection[int] = ()


@dataclass(frozen=True)
class Quality:
    """``PQ = SQ * RQ`` of one class, or the mean over classes; NaN if there are no segments."""

    pq: float
    sq: float
    rq: float
    classes: int = 1


@dataclass(frozen=True)
class PanopticCounts:
    """Matches of each class; they add up over images.

    Parameters
    ----------
    counts
        Matched (tp), invented (fp) and missed (fn) segments of each class.
    iou
        Sum of the IoU of matched segments of each class.
    """

    counts: Mapping[int, Counts] = field(default_factory=dict)
    iou: Mapping[int, float] = field(default_factory=dict)

    def __add__(self, other: PanopticCounts) -> PanopticCounts:
        classes = sorted({*self.counts, *other.counts})
        return PanopticCounts(
            {c: self.counts.get(c, NOTHING) + other.counts.get(c, NOTHING) for c in classes},
            {c: self.iou.get(c, 0.0) + other.iou.get(c, 0.0) for c in classes},
        )

    def quality(self, category: int) -> Quality:
        """Compute the quality of one class."""
        # three matches with IoU 0.8, one invented, one missed: PQ = 2.4 / (3 + 0.5 + 0.5) = 0.6
        counts = self.counts.get(category, NOTHING)
        weight = counts.tp + counts.fp / 2 + counts.fn / 2
        if not weight:
            return Quality(NAN, NAN, NAN, 0)
        matched = self.iou.get(category, 0.0)
        return Quality(matched / weight, matched / counts.tp if counts.tp else 0.0, counts.tp / weight)

    def mean_quality(self, categories: Iterable[int] | None = None) -> Quality:
        """Average the quality over the given classes that occur, such as all things; None for all classes."""
        chosen = self.counts if categories is None else categories
        each = [quality for quality in map(self.quality, chosen) if quality.classes]
        if not each:
            return Quality(NAN, NAN, NAN, 0)
        pq, sq, rq = (sum(getattr(quality, name) for quality in each) / len(each) for name in ("pq", "sq", "rq"))
        return Quality(pq, sq, rq, len(each))


def panoptic_counts(table: ContingencyTable, truth: Segments, proposal: Segments) -> PanopticCounts:
    """Match the segments of one image or volume.

    Parameters
    ----------
    table
        Voxels of each pair of ids.
    truth, proposal
        Classes of the ids.

    Raises
    ------
    PlanError
        An id has no class.
    """
    _require_classes(table.labels.tolist(), truth, "labels")
    _require_classes(table.segments.tolist(), proposal, "proposal")
    overlaps = _Overlaps.of(table)
    iou = _matches(overlaps, truth, proposal)
    counts: defaultdict[int, Counts] = defaultdict(lambda: NOTHING)
    sums: defaultdict[int, float] = defaultdict(float)
    for (label, _), value in iou.items():
        counts[truth.classes[label]] += Counts(1, 0, 0, 0)
        sums[truth.classes[label]] += value
    for label in overlaps.labels.keys() - {label for label, _ in iou} - {VOID, *truth.crowds}:
        counts[truth.classes[label]] += Counts(0, 0, 1, 0)
    for segment in overlaps.segments.keys() - {segment for _, segment in iou} - {VOID}:
        if not _forgiven(segment, overlaps, truth, proposal):
            counts[proposal.classes[segment]] += Counts(0, 1, 0, 0)
    return PanopticCounts(dict(counts), dict(sums))


def _require_classes(ids: Iterable[int], segments: Segments, name: str) -> None:
    unknown = sorted({*ids} - {*segments.classes, VOID})
    if unknown:
        raise PlanError(f"the {name} hold the id {unknown[0]}, which has no class ({len(unknown)} such ids)")


@dataclass(frozen=True)
class _Overlaps:
    """Voxels of each pair, of each label and of each segment."""

    pairs: Mapping[tuple[int, int], int]
    labels: Mapping[int, int]
    segments: Mapping[int, int]

    @classmethod
    def of(cls, table: ContingencyTable) -> _Overlaps:
        pairs = zip(table.labels.tolist(), table.segments.tolist(), strict=True)
        labels, segments = (dict(zip(ids.tolist(), sizes.tolist(), strict=True))
                            for ids, sizes in (table.label_sizes(), table.segment_sizes()))
        return cls(dict(zip(pairs, table.counts.tolist(), strict=True)), labels, segments)

    def shared(self, label: int, segment: int) -> int:
        return self.pairs.get((label, segment), 0)


def _matches(overlaps: _Overlaps, truth: Segments, proposal: Segments) -> dict[tuple[int, int], float]:
    """Return the IoU of each matching pair."""
    iou = {}
    for (label, segment), voxels in overlaps.pairs.items():
        if VOID in (label, segment) or label in truth.crowds or truth.classes[label] != proposal.classes[segment]:
            continue
        on_void = overlaps.shared(VOID, segment)
        union = overlaps.labels[label] + overlaps.segments[segment] - voxels - on_void
        if 2 * voxels > union:
            iou[label, segment] = voxels / union
    return iou


def _forgiven(segment: int, overlaps: _Overlaps, truth: Segments, proposal: Segments) -> bool:
    """Whether more than half of a segment lies on void or on a crowd of its class."""
    crowds = (crowd for crowd in truth.crowds if truth.classes[crowd] == proposal.classes[segment])
    excused = overlaps.shared(VOID, segment) + sum(overlaps.shared(crowd, segment) for crowd in crowds)
    return 2 * excused > overlaps.segments[segment]
