"""Grow numbered objects into the background; blocks of this stage read a little more than they write."""

from __future__ import annotations

from dataclasses import dataclass

from tiler.geometry import Grid, Shape
from tiler.jobs.components import Readable
from tiler.jobs.masked import Part
from tiler.jobs.segment import checksum, stamped
from tiler.objects.growing import Growth
from tiler.ports import Array, Json, Sink


@dataclass(frozen=True, slots=True)
class GrowJob:
    """Grow the objects of every block: a `tiler.ports.Job`.

    Parameters
    ----------
    ids
        Sink that holds the objects.
    sink
        Sink for the grown objects.
    grid
        Blocks in voxels of the output.
    growth
        Distance and directions of the growth.
    part, start
        Part of the volume that is segmented, None for all of it; and ``(z, y, x)`` of the output in the volume.
    """

    ids: Readable
    sink: Sink
    grid: Grid
    growth: Growth
    part: Part | None = None
    start: Shape = (0, 0, 0)

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return str(self.grid[index])

    def read(self, index: int) -> Array:
        (ids,) = self.ids.read(self.growth.around(self.grid[index], self.grid.region.shape))
        found: Array = ids
        return found

    def compute(self, index: int, window: Array) -> Array:
        box = self.grid[index]
        grown = self.growth.grown(window, box.back(self.growth.around(box, self.grid.region.shape).start))
        if self.part is not None:
            grown[~self.part.read(box.shift(self.start))] = 0
        return grown[None]

    def write(self, index: int, result: Array) -> Json:
        box = self.grid[index]
        self.sink.write(box, result)
        return {"checksum": checksum(result), **stamped(self.sink, [box])}
