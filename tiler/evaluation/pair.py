"""A proposal and labels that are aligned with each other, read by region.

Regions are given in coordinates of the larger volume. A volume that has exactly the shape of the region *is* the
region, so that a proposal segmented with ``roi`` can be compared with labels of the whole stack.

::

    labels      |------------------------------|   30 slices
    region               [=========]               slices 10:15
    proposal             [=========]               5 slices: taken whole
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tiler.errors import PlanError
from tiler.geometry import Box, Shape
from tiler.ports import Array, Source


@dataclass(frozen=True, slots=True)
class Part:
    """A region of a source.

    Parameters
    ----------
    source
        Volume.
    box
        Region to score; all parts of an evaluation have the same shape.
    channel
        Number of the channel to read.
    """

    source: Source
    box: Box
    channel: int = 0

    def read(self, box: Box) -> Array:
        """Read a box, given in coordinates of the region, as ``(z, y, x)``."""
        found: Array = self.source.read(box.shift(self.box.start))[self.channel]
        return found


@dataclass(frozen=True, slots=True)
class Pair:
    """Proposal, labels and mask, as parts of equal shape.

    Parameters
    ----------
    proposal, labels, mask
        Parts of volumes; the mask may be None.
    """

    proposal: Part
    labels: Part
    mask: Part | None = None

    @property
    def shape(self) -> Shape:
        """Shape ``(z, y, x)`` of the compared region."""
        return self.labels.box.shape

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for part in (self.proposal, self.labels, self.mask) if part is not None)

    def slice_box(self, z: int) -> Box:
        return Box.between((z, 0, 0), (z + 1, *self.shape[1:]))

    def blocks(self, voxels: int) -> Iterator[Box]:
        """Yield boxes, in coordinates of the region, that cut it along the chunks of the part with the larger ones.

        Parameters
        ----------
        voxels
            Target size of a box; a single larger chunk exceeds it.
        """
        part = max(self.parts[:2], key=lambda part: np.prod(part.source.read_unit))
        size = block_shape(part.source.read_unit, part.box.shape, voxels)
        first = [start // step for start, step in zip(part.box.start, size, strict=True)]
        last = [-(-stop // step) for stop, step in zip(part.box.stop, size, strict=True)]
        for index in np.ndindex(*(b - a for a, b in zip(first, last, strict=True))):
            corner = [(a + i) * step for a, i, step in zip(first, index, size, strict=True)]
            whole = Box.between(corner, [c + step for c, step in zip(corner, size, strict=True)])
            yield whole.intersect(part.box).back(part.box.start)


def block_shape(unit: Shape, shape: Shape, voxels: int) -> Shape:
    """Return the largest block of whole units, grown along x, then y, then z, with at most ``voxels`` voxels."""
    # unit (1, 64, 64), shape (10, 256, 256), 40,000 voxels: 4 units along x, then 2 along y: (1, 128, 256)
    size = [min(a, b) for a, b in zip(unit, shape, strict=True)]
    for axis in reversed(range(len(size))):
        room = max(1, voxels // int(np.prod(size)))
        size[axis] = min(size[axis] * room, -(-shape[axis] // size[axis]) * size[axis])
    return tuple(size)


@dataclass(frozen=True, slots=True)
class Aligned:
    """Boxes of equal shape in both volumes, and a note on where they come from."""

    proposal: Box
    labels: Box
    note: str | None = None


def align(proposal: Source, labels: Source, region: Box | None, written: Box | None) -> Aligned:
    """Find the regions of two volumes that correspond to each other.

    Parameters
    ----------
    proposal, labels
        The volumes.
    region
        Region to score, in coordinates of the larger volume; None for all.
    written
        Region of the labels that the proposal covers, by its metadata; None if it has none.

    Raises
    ------
    PlanError
        The volumes cannot be aligned; the message names both shapes.
    """
    found, truth = proposal.shape[1:], labels.shape[1:]
    placed = _placed(found, truth, written)
    if placed is not None:
        return _align_placed(placed, truth, region)
    if region is None:
        if found != truth:
            raise PlanError(f"{_both(proposal, labels)}: they must be equal (choose a part with `slices` or `roi`)")
        region = Box.of_shape(truth)
    boxes = Aligned(_within(found, region), _within(truth, region))
    for box, shape in ((boxes.proposal, found), (boxes.labels, truth)):
        if not Box.of_shape(shape).contains(box):
            raise PlanError(f"{_both(proposal, labels)}: the region {region} does not lie in both, nor has one of "
                            "them its shape (`slices`, `roi`)")
    return boxes


def _within(shape: Shape, region: Box) -> Box:
    """Return the place of a region in a volume: the whole volume, if it has the region's shape."""
    return Box.of_shape(shape) if shape == region.shape else region


def _placed(found: Shape, truth: Shape, written: Box | None) -> Box | None:
    """Return the region of the labels that the proposal covers by its metadata, or None if it does not fit."""
    if written is None or found == truth or written.shape != found or not Box.of_shape(truth).contains(written):
        return None
    return written


def _align_placed(placed: Box, truth: Shape, region: Box | None) -> Aligned:
    region = placed if region is None else region
    if not placed.contains(region):
        raise PlanError(f"the proposal holds the region {placed} of the labels, of shape {truth}, by its metadata; "
                        f"{region} does not lie in it (`slices`, `roi`)")
    return Aligned(region.back(placed.start), region,
                   f"the proposal is the region {placed} of the labels, by its metadata")


def _both(proposal: Source, labels: Source) -> str:
    return (f"the proposal {proposal.name} has shape {proposal.shape[1:]} (z, y, x), the labels {labels.name} have "
            f"shape {labels.shape[1:]}")
