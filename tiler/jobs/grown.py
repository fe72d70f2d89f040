"""Numbered objects, grown into the background: a stage whose blocks read a little more than they write."""

from __future__ import annotations

from dataclasses import dataclass

from tiler.geometry import Grid, Shape
from tiler.jobs.components import Readable
from tiler.jobs.masked import Part
from tiler.jobs.segment import checksum
from tiler.objects.growing import Growth
from tiler.ports import Array, Json, Sink


@dataclass(frozen=True, slots=True)
class GrowJob:
    """Every block of objects, grown: a `tiler.ports.Job`.

    Parameters
    ----------
    ids
        Where the objects stand.
    sink
        Where they go.
    grid
        The blocks, in coordinates of the output.
    growth
        How far they grow.
    part, start
        What is segmented, None for everything; and where the output begins in the volume.
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
        self.sink.write(self.grid[index], result)
        return {"checksum": checksum(result)}
