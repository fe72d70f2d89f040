"""Fill holes in the foreground: background that is not connected to the border of the volume or section.

::

    holes    every block: the components of the background, and which of them touch the border
    fill     once: the components that are not connected to the border are holes
    Filled   a view: the foreground with its holes filled

If foreground voxels also touch at corners, background voxels touch only at faces, and vice versa.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiler.geometry import Box, Grid
from tiler.jobs.components import Labelled, Readable, column, joined, starts_of
from tiler.objects.components import Ids, Table, components_of
from tiler.objects.connectivity import Connectivity
from tiler.ports import Array, Json

AROUND = {4: 8, 8: 4, 6: 26, 18: 6, 26: 6}
"""Connectivity of the background for each connectivity of the foreground."""


@dataclass(frozen=True, slots=True)
class Background:
    """The background of labels, as labels of its own."""

    labels: Readable

    @property
    def name(self) -> str:
        return str(self.labels.name)

    def read(self, box: Box) -> Array:
        """``(1, *box.shape)`` uint8."""
        found: Array = (self.labels.read(box) == 0).astype(np.uint8)
        return found


def background_of(labelled: Labelled) -> Labelled:
    """The background of labels, on the same shelf."""
    return Labelled(Background(labelled.labels), labelled.grid,
                    Connectivity(AROUND[labelled.connectivity.neighbours]), labelled.shelf)


def for_holes(labelled: Labelled, index: int, ids: Array, table: Table) -> dict[str, Array]:
    """Values of the components of the background, and which of them touch the border: see `ComponentsJob.keep`."""
    return {"values": table.values, "outside": _outside(labelled, index, ids, len(table))}


def _outside(background: Labelled, index: int, ids: Array, count: int) -> npt.NDArray[np.int64]:
    """``(n,)``: 1 for components that touch the border of the volume or of their section, else 0."""
    found = np.zeros(count + 1, np.int64)
    box, volume, flat = background.grid[index], background.grid.region.shape, background.connectivity.flat
    for axis, (span, size) in enumerate(zip(box.spans, volume, strict=True)):
        if axis == 0 and (flat or size == 1):
            continue
        for place, border in ((0, span.start == 0), (-1, span.stop == size)):
            if border:
                found[np.unique(np.take(ids, place, axis))] = 1
    return found[1:]


@dataclass(frozen=True, slots=True)
class FillJob:
    """Find the background components that are holes, as a single block: a `tiler.ports.Job`."""

    background: Labelled
    counts: tuple[int, ...]

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return "the faces of all blocks"

    def read(self, index: int) -> Ids:
        return starts_of(self.counts)

    def compute(self, index: int, window: Ids) -> tuple[Ids, Ids]:
        shelf = self.background.shelf
        outside = column(shelf, "outside", window)
        groups = joined(self.background, column(shelf, "values", window), window)
        groups.gather(outside, column(shelf, "outside", window))  # sums: above 0 if one of the group is outside
        return window, np.asarray(outside[groups.parent] == 0, np.int64)

    def write(self, index: int, result: tuple[Ids, Ids]) -> Json:
        starts, holes = result
        for block in range(len(self.counts)):
            self.background.shelf.put(f"holes/{block}", {"holes": holes[starts[block]:starts[block + 1]]})
        return {"count": int(holes.sum())}


@dataclass(frozen=True, slots=True)
class Filled:
    """The foreground with its holes filled, read by block."""

    labels: Readable
    background: Labelled

    @property
    def name(self) -> str:
        return str(self.labels.name)

    def read(self, box: Box) -> Array:
        """``(1, *box.shape)`` uint8: 1 for foreground and holes, in one of the blocks."""
        here = self.background
        index = block_of(here.grid, box)
        holes = np.concatenate([[0], here.shelf.get(f"holes/{index}")["holes"]])
        outside = components_of(here.read(index), here.connectivity)
        found: Array = ((outside == 0) | (holes[outside] > 0)).astype(np.uint8)
        return found[None]


def block_of(grid: Grid, box: Box) -> int:
    """The number of a block."""
    place = [start // side for start, side in zip(box.start, grid.block, strict=True)]
    return int(np.ravel_multi_index(place, grid.counts))
