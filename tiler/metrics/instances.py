"""Protocol ``instances``: objects that are matched, missed or invented, judged by their overlap.

All scores come from a contingency table, so a volume can be counted block by block. Label 0 and segment 0 are
background.

References
----------
SEG: Maska et al., A benchmark for comparison of cell tracking algorithms (2014), 10.1093/bioinformatics/btu080;
average precision: Caicedo et al., the 2018 Data Science Bowl (2019), 10.1038/s41592-019-0612-7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tiler.errors import PlanError
from tiler.metrics.contingency import ContingencyTable, Ids, Voxels, require_foreground
from tiler.metrics.result import Result
from tiler.metrics.statistics import Counts, ratio

IOU_THRESHOLDS = tuple(k / 100 for k in range(50, 100, 5))


@dataclass(frozen=True, eq=False)
class Overlap:
    """Every pair of an object and a segment that share voxels.

    Parameters
    ----------
    labels, segments
        uint64 ids of object and segment, one entry for each pair.
    shared
        int64 voxels that both share.
    label_size, segment_size
        int64 voxels of object and segment.
    objects, found
        Number of objects in the truth, and of segments in the proposal.
    """

    labels: Ids
    segments: Ids
    shared: Voxels
    label_size: Voxels
    segment_size: Voxels
    objects: int
    found: int

    @classmethod
    def of(cls, table: ContingencyTable) -> Overlap:
        label_ids, label_sizes = table.label_sizes()
        segment_ids, segment_sizes = table.segment_sizes()
        pairs = table.only((table.labels > 0) & (table.segments > 0))
        return cls(
            pairs.labels, pairs.segments, pairs.counts,
            label_sizes[np.searchsorted(label_ids, pairs.labels)],
            segment_sizes[np.searchsorted(segment_ids, pairs.segments)],
            int(np.count_nonzero(label_ids)), int(np.count_nonzero(segment_ids)),
        )

    @cached_property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union of each pair."""
        # 60 shared voxels of 100 and 80: 60 / (100 + 80 - 60) = 0.5
        return self.shared / (self.label_size + self.segment_size - self.shared)

    def matched(self, threshold: float = 0.5) -> npt.NDArray[np.bool_]:
        """Mark the pairs whose IoU is *above* the threshold; an object or segment is in one such pair at most.

        Raises
        ------
        PlanError
            The threshold is not from 0.5 to below 1; lower ones would give matches that are not unique.
        """
        if not 0.5 <= threshold < 1:
            raise PlanError(f"an IoU threshold is from 0.5 to below 1, got {threshold:g}: "
                            "below, matches are not unique")
        return self.iou > threshold

    def counts(self, threshold: float = 0.5) -> Counts:
        """Count matched objects as tp, unmatched segments as fp and unmatched objects as fn."""
        tp = int(np.count_nonzero(self.matched(threshold)))
        return Counts(tp, self.found - tp, self.objects - tp, 0)

    def average_precision(self, threshold: float = 0.5) -> float:
        """Compute ``tp / (tp + fp + fn)``; NaN if there are neither objects nor segments."""
        counts = self.counts(threshold)
        return ratio(counts.tp, counts.total)

    @property
    def seg(self) -> float:
        """SEG: mean over the objects of the IoU with the segment that covers more than half of it, 0 if none does."""
        covering = 2 * self.shared > self.label_size
        return ratio(float(self.iou[covering].sum()), self.objects)


@dataclass(frozen=True)
class InstancesResult(Result):
    """Scores of a volume's objects.

    Parameters
    ----------
    overlap
        Pairs of objects and segments that overlap.
    """

    protocol: ClassVar[str] = "instances"

    overlap: Overlap

    @property
    def mean_average_precision(self) -> float:
        """Mean over the IoU thresholds 0.5, 0.55, ... 0.95."""
        return sum(map(self.overlap.average_precision, IOU_THRESHOLDS)) / len(IOU_THRESHOLDS)

    def headline(self) -> Mapping[str, float]:
        counts, matched = self.overlap.counts(), self.overlap.matched()
        quality = ratio(float(self.overlap.iou[matched].sum()), counts.tp, 0.0)
        return {
            "seg": self.overlap.seg,
            "average_precision_50": self.overlap.average_precision(0.5),
            "average_precision_50_95": self.mean_average_precision,
            "panoptic_quality": quality * counts.f_score(),
            "segmentation_quality": quality,
            "recognition_quality": counts.f_score(),
            "precision": counts.precision(),
            "recall": counts.recall(),
        }

    def details(self) -> Mapping[str, object]:
        counts = self.overlap.counts()
        return {
            **self.headline(),
            "matched": counts.tp, "invented": counts.fp, "missed": counts.fn,
            "iou_thresholds": IOU_THRESHOLDS,
            "average_precision": [self.overlap.average_precision(t) for t in IOU_THRESHOLDS],
        }


def score_instances(table: ContingencyTable) -> InstancesResult:
    """Score a volume from the sum of its blocks' tables.

    Raises
    ------
    PlanError
        The labels hold no object.
    """
    require_foreground(table.without_labels(0))
    return InstancesResult(Overlap.of(table))
