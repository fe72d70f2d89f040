"""Protocol ``isbi2012``: the scores of the ISBI-2012 EM segmentation challenge, to the last digit.

All scores are two-dimensional and add up over slices, so slices can be scored in any process and order.

References
----------
Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for connectomics (2015),
10.3389/fnana.2015.00142; the results equal those of Fiji's Trainable_Segmentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiler.metrics.checks import cells_and_membrane, probabilities, slice_2d
from tiler.metrics.contingency import ContingencyTable, all_overlaps, foreground_overlaps
from tiler.metrics.information import Information, information
from tiler.metrics.labelling import Labels, columns, label_objects
from tiler.metrics.mismatches import MismatchCounts
from tiler.metrics.pixel import pixel_counts
from tiler.metrics.rand import pairs_choose_two, pairs_squared
from tiler.metrics.statistics import Counts
from tiler.metrics.thinning import thin_objects
from tiler.metrics.warping import RADIUS, warp_columns
from tiler.ports import Array


def _thresholds(largest: float) -> Iterator[float]:
    """Yield 0, 0.1, 0.2, 0.30000000000000004, ...; added up as in the evaluator, not multiplied."""
    threshold = 0.0
    while threshold <= largest:
        yield threshold
        threshold += 0.1


THRESHOLDS = tuple(_thresholds(1.0))
WARPING_THRESHOLDS = tuple(_thresholds(0.9))


@dataclass(frozen=True, slots=True)
class Regions:
    """Scores of one slice at one threshold that need its objects.

    Parameters
    ----------
    objects, segments, basins, dams
        Number of objects in the truth, in the proposal and in the thinned proposal, and of pixels in its dams.
    rand
        Pairs of all pixels; background is one more object.
    rand_2012, rand_foreground, rand_thinned
        Pairs in the foreground: as on the 2012 leader board, N-squared, and N-squared of the thinned proposal.
    info, info_thinned
        Entropies in the foreground, of the proposal and of the thinned proposal.
    """

    objects: int
    segments: int
    basins: int
    dams: int
    rand: Counts
    rand_2012: Counts
    rand_foreground: Counts
    rand_thinned: Counts
    info: Information
    info_thinned: Information


@dataclass(frozen=True, slots=True)
class SliceScores:
    """All scores of one slice, one entry for each threshold; small, picklable.

    Parameters
    ----------
    shape
        ``(y, x)`` of the slice.
    pixel
        Counts of white pixels; labels are cut at 0.
    regions
        Scores of objects; labels are cut at the threshold.
    mismatches, clusters
        Mismatches that warping leaves at `WARPING_THRESHOLDS`.
    """

    shape: tuple[int, int]
    pixel: tuple[Counts, ...]
    regions: tuple[Regions, ...]
    mismatches: tuple[MismatchCounts, ...]
    clusters: tuple[MismatchCounts, ...]


def score_slice(proposal: Array, labels: Array, mask: Array | None = None, *, radius: int = RADIUS) -> SliceScores:
    """Score one slice at every threshold.

    Parameters
    ----------
    proposal
        ``(y, x)``, P(cell) from 0 to 1; integers are compared as they are.
    labels
        ``(y, x)``, not negative; above 0 is cell, 0 is membrane.
    mask
        ``(y, x)``; pixels may flip, and count, where it is not 0. Only the warping scores use it.
    radius
        See `warp`.

    Raises
    ------
    PlanError
        An array is not 2-D, shapes differ, the proposal holds NaN or real numbers outside 0..1, the labels hold
        NaN or negative values, or the mask holds NaN.
    """
    slice_2d(proposal, labels, mask)
    probabilities(proposal)
    cells_and_membrane(labels, mask)
    values = columns(proposal, np.float32).astype(np.float64)
    truth = columns(labels, np.float32).astype(np.float64)
    cells, allowed = (truth > 0).astype(np.uint8), None if mask is None else mask.T != 0
    warped = [warp_columns(cells, values, threshold, allowed, radius) for threshold in WARPING_THRESHOLDS]
    return SliceScores(
        shape=(labels.shape[0], labels.shape[1]),
        pixel=tuple(pixel_counts(values > threshold, cells) for threshold in THRESHOLDS),
        regions=tuple(_regions_at_thresholds(values.T, truth.T)),
        mismatches=tuple(warping.pixels for warping in warped),
        clusters=tuple(warping.clusters for warping in warped),
    )


def _regions_at_thresholds(values: Array, truth: Array) -> Iterator[Regions]:
    cut = cells = np.empty((0, 0), np.bool_)
    for threshold in THRESHOLDS:
        last_cut, last_cells = cut, cells
        cut, cells = values > threshold, truth > threshold
        same_cells = np.array_equal(cells, last_cells)
        if not same_cells:
            objects, count = label_objects(cells)
        if not (same_cells and np.array_equal(cut, last_cut)):
            regions = _regions(cut, objects, count)
        yield regions


def _regions(cut: npt.NDArray[np.bool_], objects: Labels, count: int) -> Regions:
    segments, found = label_objects(cut)
    basins, thinned = thin_objects(segments, found)
    table, table_thinned = ContingencyTable.of(objects, segments), ContingencyTable.of(objects, basins)
    inside, inside_thinned = foreground_overlaps(table), foreground_overlaps(table_thinned)
    return Regions(
        objects=count, segments=found, basins=thinned, dams=basins.size - int(np.count_nonzero(basins)),
        rand=pairs_choose_two(all_overlaps(table)),
        rand_2012=pairs_choose_two(inside),
        rand_foreground=pairs_squared(inside),
        rand_thinned=pairs_squared(inside_thinned),
        info=information(inside),
        info_thinned=information(inside_thinned),
    )
