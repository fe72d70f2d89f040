"""Protocol ``cremi``: variation of information and adapted Rand error, combined as in the CREMI challenge.

Background of the truth is not scored. Background of the proposal is one more segment in the variation of information.
In the adapted Rand error it hardly counts, because the challenge's code divides its voxels by the size of the volume
before it adds them to counts of pairs. Both are done here, too, since this is the score on the leader board.

References
----------
Funke et al., CREMI, MICCAI challenge on circuit reconstruction from electron microscopy images (2016),
https://cremi.org/metrics; variation of information: Meila (2007), 10.1016/j.jmva.2006.11.013.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tiler.errors import PlanError
from tiler.metrics.contingency import ContingencyTable, foreground_overlaps, require_foreground
from tiler.metrics.information import VariationOfInformation, variation_of_information
from tiler.metrics.rand import AdaptedRand, sum_of_squares
from tiler.metrics.result import Result
from tiler.ports import Array

VOID = 2**64 - 1  # the label that the challenge gives to voxels that are not scored


@dataclass(frozen=True)
class CremiResult(Result):
    """Scores of a volume's neurons.

    Parameters
    ----------
    voi
        Variation of information in bits, foreground of the truth only.
    rand
        Adapted Rand error of the same voxels.
    """

    protocol: ClassVar[str] = "cremi"

    voi: VariationOfInformation
    rand: AdaptedRand

    @property
    def score(self) -> float:
        """Geometric mean of variation of information and adapted Rand error; 0 is perfect."""
        return math.sqrt(max(0.0, self.voi.total) * max(0.0, self.rand.error))

    def headline(self) -> Mapping[str, float]:
        return {
            "cremi_score": self.score,
            "voi_split": self.voi.split,
            "voi_merge": self.voi.merge,
            "adapted_rand_error": self.rand.error,
            "precision": self.rand.precision,
            "recall": self.rand.recall,
        }

    def details(self) -> Mapping[str, object]:
        return self.headline()


def score_cremi(table: ContingencyTable) -> CremiResult:
    """Score a volume from the sum of its blocks' tables.

    Parameters
    ----------
    table
        Contingency table of the whole volume, background included.

    Raises
    ------
    PlanError
        The labels hold no object.
    """
    scored = table.without_labels(0, VOID)
    require_foreground(scored)
    return CremiResult(variation_of_information(scored), _adapted_rand(scored, table.total + table.void))


def _adapted_rand(scored: ContingencyTable, voxels: int) -> AdaptedRand:
    overlaps = foreground_overlaps(scored)
    alone = overlaps.singletons / voxels
    together = sum_of_squares(overlaps.pairs) + alone
    precision = together / (sum_of_squares(overlaps.segments) + alone)
    return AdaptedRand(precision, together / sum_of_squares(overlaps.labels))


def border_mask(labels: Array, distance: float) -> npt.NDArray[np.bool_]:
    """Find voxels that are too close to a border to be scored; the challenge sets them to background.

    Parameters
    ----------
    labels
        ``(z, y, x)`` integers; each section is processed on its own.
    distance
        Largest distance, in pixels, from a masked pixel to a pixel with a different 4-neighbour.

    Returns
    -------
    mask
        ``(z, y, x)`` bool; True is not scored.

    Raises
    ------
    PlanError
        The labels are not 3-D.
    """
    if labels.ndim != 3:
        raise PlanError("borders are masked in sections of a volume (z, y, x), "
                        f"the labels have shape {labels.shape}")
    return np.stack([_section_border(section, max(distance, 0)) for section in labels])


def _section_border(section: Array, distance: float) -> npt.NDArray[np.bool_]:
    from scipy import ndimage

    border = np.zeros(section.shape, np.bool_)
    for axis in (0, 1):
        differs = np.diff(section, axis=axis) != 0
        before, after = ((slice(None, -1), slice(1, None)) if axis == 0 else
                         ((slice(None), slice(None, -1)), (slice(None), slice(1, None))))
        border[before] |= differs
        border[after] |= differs
    if not border.any():
        return border
    near: npt.NDArray[np.bool_] = ndimage.distance_transform_edt(~border) <= distance
    return near
