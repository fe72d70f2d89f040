"""Hints about inputs that make scores poor for a reason that has nothing to do with the segmentation."""

from __future__ import annotations

import numpy as np

from tiler.evaluation.opening import Comparison
from tiler.evaluation.pair import Pair
from tiler.geometry import Box
from tiler.metrics import ContingencyTable
from tiler.metrics.checks import is_void

SAMPLE = (8, 512, 512)  # voxels of the middle of a volume, in which the numbering from slice to slice is looked at
FEW = 100  # pairs of voxels that say nothing yet


def hints_about(table: ContingencyTable, comparison: Comparison) -> tuple[str, ...]:
    """Say in one line each what looks wrong with the labels or the proposal.

    Parameters
    ----------
    table
        Every pair of a label and a segment in the region that was scored.
    comparison
        The volumes and the request.
    """
    request = comparison.request
    hints = []
    if request.ignore_label is not None and not table.void:
        hints.append(f"no voxel of the labels is {request.ignore_label}, so none was left out (`ignore_label`)")
    if request.protocol == "semantic":
        return (*hints, *_about_classes(table, request.binary))
    return (*hints, *_about_objects(table, comparison))


def _about_classes(table: ContingencyTable, binary: bool) -> list[str]:
    true, found = (set(np.unique(ids[ids > 0]).tolist()) for ids in (table.labels, table.segments))
    if binary or not true or not found or true & found:
        return []
    if len(true) == len(found) == 1:
        return [f"the labels are 0 or {true.pop()}, the proposal is 0 or {found.pop()}: the same mask in other values? "
                "(`binary` counts everything above 0 as class 1)"]
    return [f"labels and proposal share no class but 0: the labels hold {_listed(true)}, the proposal {_listed(found)}"]


def _about_objects(table: ContingencyTable, comparison: Comparison) -> list[str]:
    true, found = (np.unique(ids[ids > 0]) for ids in (table.labels, table.segments))
    for one, many, name, other in ((found, true, "the proposal holds", "the labels"),
                                   (true, found, "the labels hold", "the proposal")):
        if one.size == 1 < many.size:
            return [f"{name} one object, {one[0]}, and {other} {many.size}: a mask? The protocol "
                    f"{comparison.request.protocol} compares objects by their ids: number them first "
                    "(segment with `kind=instances`)"]
    if true.size == found.size == 1:
        return [f"labels and proposal hold one object each, {true[0]} and {found[0]}: masks? The protocol "
                f"{comparison.request.protocol} compares objects by their ids: number them first, or score the masks "
                "with `protocol=semantic` and `binary`"]
    if _numbered_by_slice(comparison.pair, comparison.request.void):
        return ["the ids of the proposal change from slice to slice within most objects of the labels: numbered slice "
                "by slice? Objects of a volume keep their id (or score single slices with `slices`)"]
    return []


def _numbered_by_slice(pair: Pair, void: tuple[int, ...]) -> bool:
    """Whether neighbours along z that share a label mostly differ in their segment; looks at the middle only."""
    size = [min(most, side) for most, side in zip(SAMPLE, pair.shape, strict=True)]
    corner = [(side - part) // 2 for side, part in zip(pair.shape, size, strict=True)]
    box = Box.between(corner, [start + part for start, part in zip(corner, size, strict=True)])
    labels, segments = pair.labels.read(box), pair.proposal.read(box)
    together = (labels[1:] == labels[:-1]) & (labels[1:] > 0) & (segments[1:] > 0) & (segments[:-1] > 0)
    together &= ~is_void(labels[1:], void)
    kept = int(np.count_nonzero(together & (segments[1:] == segments[:-1])))
    pairs = int(np.count_nonzero(together))
    return pairs >= FEW and kept < pairs / 2


def _listed(ids: set[int]) -> str:
    """The smallest ids: 1, 2, 3, ..."""
    first = sorted(ids)[:3]
    return ", ".join(map(str, first)) + (", ..." if len(ids) > 3 else "")
