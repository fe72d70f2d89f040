"""The passes before the last one: reduce the inputs of global layers block by block, over every network input.

The journal stores partial sums and maxima of each block in float64. They are merged in the order of the blocks, so that
an interrupted run gives the same bits as an uninterrupted one. Each result belongs to one network input (a slice, for
networks of slices) and one orientation, and does not depend on the region to segment.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from operator import add

import numpy as np

from tiler.geometry import Box, Shape, Tile
from tiler.jobs.segment import Window, read_window
from tiler.planning.plan import Plan
from tiler.planning.reduction_grid import Field, Sweep, sweeps_of
from tiler.ports import Array, Json, Known, Partial, Passes, Predictor, Source


@dataclass(frozen=True, slots=True)
class Blocks(Sequence[Box]):
    """The blocks of all orientations, one after the other."""

    sweeps: Sequence[Sweep]

    def __len__(self) -> int:
        return sum(len(sweep.grid) for sweep in self.sweeps)

    def __getitem__(self, index: int) -> Box:  # type: ignore[override]  # no slices
        orientation, block = self.place(index)
        return self.sweeps[orientation].box(block)

    def place(self, index: int) -> tuple[int, int]:
        """Orientation of a block, and its number within the orientation."""
        for orientation, sweep in enumerate(self.sweeps):
            if index < len(sweep.grid):
                return orientation, index
            index -= len(sweep.grid)
        raise IndexError(index)


@dataclass(frozen=True, slots=True)
class ReductionJob:
    """One pass over the blocks of every network input: a `tiler.ports.Job` whose records are its result.

    Parameters
    ----------
    plan, source, predictor
        Plan, source and predictor of the run.
    known
        Results of the passes before this one.
    level
        Number of this pass, from 0.
    """

    plan: Plan
    source: Source
    predictor: Predictor
    known: Known
    level: int

    @property
    def blocks(self) -> Blocks:
        plan = self.plan
        field = Field(self.source.shape, plan.region, plan.canvas, plan.tile, min(plan.block[0], plan.region.shape[0]))
        return Blocks(sweeps_of(self.predictor, field)[self.level])

    @property
    def passes(self) -> Passes:
        passes = self.predictor.capabilities.passes
        assert passes is not None, "only predictors of such networks are reduced"
        return passes

    @property
    def feeders(self) -> int:
        return self.predictor.capabilities.feeders

    def where(self, index: int) -> str:
        return str(self.blocks[index])

    def read(self, index: int) -> Window:
        blocks = self.blocks
        orientation, block = blocks.place(index)
        sweep = blocks.sweeps[orientation]
        return read_window(sweep.tiles(sweep.box(block)), self.source, self.plan.nan)

    def compute(self, index: int, window: Window) -> list[Partial]:
        """One result for each network input of the block."""
        return self._partials(self.blocks.place(index)[0], window)

    def again(self, index: int, tile: Shape) -> list[Partial]:
        """Compute a block with other tiles, which must give the same result."""
        other = replace(self, plan=replace(self.plan, tile=tile))
        orientation, _ = self.blocks.place(index)
        tiles = other.blocks.sweeps[orientation].tiles(self.blocks[index])
        return other._partials(orientation, read_window(tiles, self.source, self.plan.nan))

    def _partials(self, orientation: int, window: Window) -> list[Partial]:
        groups = groupby(window.tiles, self.known.input_of)
        return [reduce(add, (self._reduce(orientation, tile, window) for tile in tiles)) for _, tiles in groups]

    def _reduce(self, orientation: int, tile: Tile, window: Window) -> Partial:
        core = tile.write.back(tile.read.start)
        return self.passes.reduce(orientation, window.view(tile), core, self.known.of(tile))

    def write(self, index: int, result: list[Partial]) -> Json:
        return {"inputs": len(result), "sums": _packed([part.sums for part in result]),
                "maxima": _packed([part.maxima for part in result])}

    def merged(self, records: Mapping[int, Json]) -> Known:
        """Results of the passes up to this one, from the records of all its blocks."""
        blocks, of_slices = self.blocks, self.passes.of_slices
        found: dict[int, list[Partial | None]] = {}
        for index in range(len(blocks)):
            orientation, _ = blocks.place(index)
            first = blocks[index].start[0] if of_slices else 0
            for number, part in enumerate(unpacked(records[index]), first):
                each = found.setdefault(number, [None] * len(blocks.sweeps))
                before = each[orientation]
                each[orientation] = part if before is None else before + part
        totals = {number: (*self.known.totals.get(number, ()), tuple(part for part in each if part is not None))
                  for number, each in found.items()}
        return Known(totals, of_slices)


def stage_name(level: int) -> str:
    """Name of a pass, in journals and for listeners."""
    return f"pass {level + 1}"


def _packed(rows: list[Array]) -> str:
    return base64.b64encode(np.stack(rows).astype("<f8").tobytes()).decode()


def unpacked(record: Json) -> list[Partial]:
    """The sums and maxima of a block, for each network input in it."""
    count = record["inputs"]
    sums, maxima = (np.frombuffer(base64.b64decode(record[name]), "<f8").reshape(count, -1)
                    for name in ("sums", "maxima"))
    return [Partial(a, b) for a, b in zip(sums, maxima, strict=True)]
