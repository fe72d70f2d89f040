"""Apply the user's step to every block, and try whether its result depends on the blocks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from tiler.geometry import Box, Grid, Shape, Span
from tiler.jobs.components import Readable
from tiler.jobs.own_step import Step
from tiler.jobs.segment import checksum, stamped
from tiler.ports import KINDS, Array, Json, Sink

CUT = 0.4
"""Place of the cut through a sample, as a share of its side."""


@dataclass(frozen=True)
class StepJob:
    """Apply the step to every block: a `tiler.ports.Job`.

    Parameters
    ----------
    values
        The result that the step gets.
    sink
        Sink for what it returns.
    grid
        Blocks in voxels of the result.
    step
        The step.
    start, volume
        Place of the result in the volume, and the volume's shape.
    """

    values: Readable
    sink: Sink
    grid: Grid
    step: Step
    start: Shape
    volume: Shape
    feeders = 1

    def where(self, index: int) -> str:
        return str(self.grid[index])

    def read(self, index: int) -> Array:
        return self.values.read(self._window(index))

    def compute(self, index: int, window: Array) -> Array:
        return self.step(window, self._window(index), self.grid[index], self.start, self.volume)

    def write(self, index: int, result: Array) -> Json:
        box = self.grid[index]
        self.sink.write(box, result)
        return {"checksum": checksum(result), **stamped(self.sink, [box])}

    def _window(self, index: int) -> Box:
        return self.step.around(self.grid[index], self.grid.region.shape)


@dataclass(frozen=True)
class SampleJob:
    """Compare the step in one piece and in pieces on a sample of the result: a `tiler.ports.Job` of one block."""

    values: Readable
    step: Step
    region: Shape
    start: Shape
    volume: Shape
    feeders = 1

    def where(self, index: int) -> str:
        return "a sample"

    def read(self, index: int) -> tuple[Box, Array]:
        box = sample_of(self.step.context, self.region)
        return box, self.values.read(box)

    def compute(self, index: int, window: tuple[Box, Array]) -> str:
        box, values = window
        start = tuple(a + b for a, b in zip(self.start, box.start, strict=True))
        return dependence(self.step, values, start, self.volume)

    def write(self, index: int, result: str) -> Json:
        return {"differs": result}


def sample_of(context: Shape, region: Shape) -> Box:
    """A box in the middle of a result, large enough that a piece of it sees less than the whole."""
    sides = [min(size, 2 * far + (16 if axis == 0 else 64)) for axis, (far, size) in
             enumerate(zip(context, region, strict=True))]
    starts = [(size - side) // 2 for size, side in zip(region, sides, strict=True)]
    return Box(tuple(Span(start, start + side) for start, side in zip(starts, sides, strict=True)))


def dependence(step: Step, values: Array, start: Shape, volume: Shape) -> str:
    """How the step depends on its blocks, on a sample that stands for a whole result; empty if it does not.

    Parameters
    ----------
    values
        ``(c, z, y, x)`` of the sample.
    start, volume
        Place of the sample in the volume, and the volume's shape.
    """
    shape = values.shape[1:]
    whole = Box.of_shape(shape)
    expected = step(values, whole, whole, start, volume)
    for box in _pieces(shape):
        window = step.around(box, shape)
        found = step(values[(slice(None), *window.slices)], window, box, start, volume)
        same = _equal(found, expected[(slice(None), *box.slices)])
        if not same.all():
            place = tuple(int(axis[0]) for axis in np.nonzero(~same.all(0)))
            far = [min(at, side - 1 - at) for at, side in zip(place, box.shape, strict=True)]
            return (f"{np.count_nonzero(~same)} of {same.size} values of a block of {'x'.join(map(str, box.shape))} "
                    f"differ from those of a larger block, the first {min(far)} voxels from a face of it")
    return ""


def _equal(one: Array, other: Array) -> Array:
    """Where two arrays are equal; NaN equals NaN."""
    equal: Array = one == other
    return equal | (np.isnan(one) & np.isnan(other)) if one.dtype.kind == "f" else equal


def _pieces(shape: Shape) -> list[Box]:
    """The parts of a sample, cut once along each axis."""
    spans = []
    for size in shape:
        cut = round(size * CUT)
        spans.append([Span(0, cut), Span(cut, size)] if 0 < cut < size else [Span(0, size)])
    return [Box(each) for each in product(*spans)]


def noise(kind: str, dtype: np.dtype[Any], channels: int, shape: Shape, classes: int = 2) -> Array:
    """``(channels, *shape)``: values that could be a result of some kind, on which a step is tried before a run."""
    fields: Array = np.random.default_rng(0).random((channels, *shape))
    for axis, size in enumerate(shape, start=1):
        for _ in range(4 if size > 8 else 0):  # smooth as probabilities are
            fields = (fields + np.roll(fields, 1, axis) + np.roll(fields, 2, axis)) / 3
    low, high = fields.min(), fields.max()
    fields = (fields - low) / max(high - low, 1e-6)
    if KINDS[kind].ordered:
        found = np.rint(fields * np.iinfo(dtype).max) if dtype.kind in "iu" else fields
    else:
        count = min(8 if KINDS[kind].numbered else classes, int(np.iinfo(dtype).max))
        found = np.minimum(np.floor(fields * count), count - 1) * KINDS[kind].step
    made: Array = found.astype(dtype)
    return made


def tried(step: Step, before: tuple[str, np.dtype[Any], int], region: Shape, volume: Shape) -> str:
    """How the step depends on its blocks, on noise instead of a result; no voxel is read."""
    box = sample_of(step.context, region)
    return dependence(step, noise(*before, box.shape), box.start, volume)

