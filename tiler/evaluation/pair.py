"""A proposal and labels that lie on each other, read by region.

Regions are given in the coordinates of the larger volume. A volume that has just the shape of the region *is* the
region already; so a proposal that was segmented with ``--roi`` meets the labels of the whole stack.

::

    labels      |------------------------------|   30 slices
    region               [=========]               --slices 10:15
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
        A volume.
    box
        What of it is scored; for all parts of one evaluation of the same shape.
    channel
        Which channel is read.
    """

    source: Source
    box: Box
    channel: int = 0

    def read(self, box: Box) -> Array:
        """``(z, y, x)``: a box in coordinates of the region."""
        found: Array = self.source.read(box.shift(self.box.start))[self.channel]
        return found


@dataclass(frozen=True, slots=True)
class Pair:
    """What is compared: parts of equal shape.

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
        """``(z, y, x)`` of what is compared."""
        return self.labels.box.shape

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(part for part in (self.proposal, self.labels, self.mask) if part is not None)

    def slice_box(self, z: int) -> Box:
        return Box.between((z, 0, 0), (z + 1, *self.shape[1:]))

    def blocks(self, voxels: int) -> Iterator[Box]:
        """Boxes in coordinates of the region that cut it along chunks of the part that is dearest to read."""
        part = max(self.parts[:2], key=lambda part: np.prod(part.source.read_unit))
        size = block_shape(part.source.read_unit, part.box.shape, voxels)
        first = [start // step for start, step in zip(part.box.start, size, strict=True)]
        last = [-(-stop // step) for stop, step in zip(part.box.stop, size, strict=True)]
        for index in np.ndindex(*(b - a for a, b in zip(first, last, strict=True))):
            corner = [(a + i) * step for a, i, step in zip(first, index, size, strict=True)]
            whole = Box.between(corner, [c + step for c, step in zip(corner, size, strict=True)])
            yield whole.intersect(part.box).back(part.box.start)


def block_shape(unit: Shape, shape: Shape, voxels: int) -> Shape:
    """The largest whole number of units, grown along x, then y, then z, that holds at most ``voxels``."""
    size = [min(a, b) for a, b in zip(unit, shape, strict=True)]
    for axis in reversed(range(len(size))):
        room = max(1, voxels // int(np.prod(size)))
        size[axis] = min(size[axis] * room, -(-shape[axis] // size[axis]) * size[axis])
    return tuple(size)


@dataclass(frozen=True, slots=True)
class Aligned:
    """Boxes of equal shape, one in each volume, and how they came about."""

    proposal: Box
    labels: Box
    note: str | None = None


def align(proposal: Source, labels: Source, region: Box | None, written: Box | None) -> Aligned:
    """Find what of two volumes lies on each other.

    Parameters
    ----------
    proposal, labels
        The volumes.
    region
        What to score, in coordinates of the larger volume; None for all.
    written
        Where the proposal lies by its own metadata, None where it does not say.

    Raises
    ------
    PlanError
        They do not lie on each other; both shapes are named.
    """
    found, truth = proposal.shape[1:], labels.shape[1:]
    placed = _placed(found, truth, written)
    if placed is not None:
        return _align_placed(placed, truth, region)
    if region is None:
        if found != truth:
            raise PlanError(f"{_both(proposal, labels)}: they must be equal (choose a part with --slices or --roi)")
        region = Box.of_shape(truth)
    boxes = Aligned(_within(found, region), _within(truth, region))
    for box, shape in ((boxes.proposal, found), (boxes.labels, truth)):
        if not Box.of_shape(shape).contains(box):
            raise PlanError(f"{_both(proposal, labels)}: the region {region} does not lie in both, nor has one of "
                            "them its shape (--slices, --roi)")
    return boxes


def _within(shape: Shape, region: Box) -> Box:
    """Where a region lies in a volume: all of it, if the volume has the region's shape."""
    return Box.of_shape(shape) if shape == region.shape else region


def _placed(found: Shape, truth: Shape, written: Box | None) -> Box | None:
    """Where the proposal lies in the labels, if its metadata says that it is a part of a volume like them."""
    if written is None or found == truth or written.shape != found or not Box.of_shape(truth).contains(written):
        return None
    return written


def _align_placed(placed: Box, truth: Shape, region: Box | None) -> Aligned:
    region = placed if region is None else region
    if not placed.contains(region):
        raise PlanError(f"the proposal holds the region {placed} of the labels, of shape {truth}, by its metadata; "
                        f"{region} does not lie in it (--slices, --roi)")
    return Aligned(region.back(placed.start), region,
                   f"the proposal is the region {placed} of the labels, by its metadata")


def _both(proposal: Source, labels: Source) -> str:
    return (f"the proposal {proposal.name} has shape {proposal.shape[1:]} (z, y, x), the labels {labels.name} have "
            f"shape {labels.shape[1:]}")
