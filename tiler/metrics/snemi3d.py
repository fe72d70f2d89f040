"""Protocol ``snemi3d``: adapted Rand error of a volume, from its contingency table.

References
----------
Arganda-Carreras et al., SNEMI3D challenge (2013); Arganda-Carreras et al. (2015), 10.3389/fnana.2015.00142.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tiler.metrics.contingency import ContingencyTable, foreground_overlaps, require_foreground
from tiler.metrics.information import information
from tiler.metrics.rand import AdaptedRand, adapted_rand
from tiler.metrics.result import Result


@dataclass(frozen=True)
class Snemi3dResult(Result):
    """Scores of a volume's objects.

    Parameters
    ----------
    rand
        The challenge's score: foreground only, N-squared; each voxel of segment 0 is a segment of its own.
    v_info
        The information-theoretic F score of the same voxels.
    voxels, objects, segments
        Number of foreground voxels, of objects in the truth, and of segments in the foreground.
    """

    protocol: ClassVar[str] = "snemi3d"

    rand: AdaptedRand
    v_info: float
    voxels: int
    objects: int
    segments: int

    def headline(self) -> Mapping[str, float]:
        return {
            "adapted_rand_error": self.rand.error,
            "precision": self.rand.precision,
            "recall": self.rand.recall,
            "v_info": self.v_info,
        }

    def details(self) -> Mapping[str, object]:
        return {**self.headline(), "voxels": self.voxels, "objects": self.objects, "segments": self.segments}


def score_snemi3d(table: ContingencyTable) -> Snemi3dResult:
    """Score a volume; label 0 is not scored.

    Parameters
    ----------
    table
        Contingency table of the whole volume, the sum of its blocks' tables.

    Raises
    ------
    PlanError
        The labels hold no object.
    """
    require_foreground(table.without_labels(0))
    overlaps = foreground_overlaps(table)
    return Snemi3dResult(adapted_rand(table), information(overlaps).f_score, overlaps.total,
                         overlaps.labels.size, overlaps.segments.size)
