"""Compute one block of a stored tensor, and blocks of the result from the tensor that holds its values.

::

    image, earlier tensors -> read boxes -> compute (a predictor) -> scratch, statistics of the block in the journal
    the last tensor        -> read box   -> classes and type of the output -> sink
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiler.geometry import Box, Span
from tiler.jobs.read_mirrored import read_mirrored
from tiler.jobs.scratch import Scratch
from tiler.jobs.segment import SegmentJob, Window, checksum, finite
from tiler.ports import Array, Given, Json, Source, Staging


@dataclass(frozen=True, slots=True)
class Inputs:
    """One input of the network, as the stages of a run see it.

    Parameters
    ----------
    source, nan
        The volume, and the rule for voxels that are not finite.
    canvas
        The canvas of the run.
    section
        Number of the section that is the input; None if the volume is.
    """

    source: Source
    nan: str
    canvas: Box
    section: int | None

    @property
    def start(self) -> tuple[int, ...]:
        """First voxel of the input, in voxels of the volume."""
        return self.canvas.start if self.section is None else (self.section, *self.canvas.start[1:])

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)``: a box of the input."""
        return finite(read_mirrored(self.source, box.shift(self.start)), self.nan, self.source.name)


@dataclass(frozen=True, slots=True)
class TensorJob:
    """Compute the blocks of one stored tensor: a `tiler.ports.Job`.

    Parameters
    ----------
    staging
        The stages of the input.
    number
        Number of the tensor.
    inputs, scratch
        What blocks are computed from, and where they go.
    found
        Statistics of the tensors before, by number.
    feeders
        Number of threads that may compute at the same time.
    """

    staging: Staging
    number: int
    inputs: Inputs
    scratch: Scratch
    found: Mapping[int, Any]
    feeders: int

    def where(self, index: int) -> str:
        tensor = self.staging.tensors[self.number]
        return f"{tensor.blocks[index]} of tensor {self.number}, made by {tensor.layer}"

    def read(self, index: int) -> Given:
        needs = self.staging.needs(self.number, index)
        tensors = {number: self.scratch.read(number, self.staging.tensors[number], box)
                   for number, box in needs.tensors.items()}
        return Given(None if needs.image is None else self.inputs.read(needs.image), tensors)

    def compute(self, index: int, window: Given) -> tuple[Array, Json]:
        return self.staging.compute(self.number, index, window, self.found)

    def write(self, index: int, result: tuple[Array, Json]) -> Json:
        tensor = self.staging.tensors[self.number]
        record = self.record(result)
        if not tensor.kept:
            return record
        self.scratch.write(self.number, index, result[0])
        return {**record, "stamp": self.scratch.stamp(self.number, index, tensor)}

    def record(self, result: tuple[Array, Json]) -> Json:
        """The part of a record that depends on values only."""
        return {"checksum": checksum(result[0]), **result[1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResultJob(SegmentJob):
    """Write the blocks of a plan from the values that the last tensor of an input holds: a `tiler.ports.Job`."""

    staging: Staging
    scratch: Scratch
    inputs: Inputs

    def read(self, index: int) -> Window:
        return self.read_box(self.plan.grid[index])

    def read_where(self, index: int, inside: Array) -> Window:
        """The whole block, whose values are all there."""
        return self.read(index)

    def read_box(self, volume: Box) -> Window:
        """Values of a box, in voxels of the volume."""
        number = len(self.staging.tensors) - 1
        tensor, box = self.staging.tensors[number], volume.back(self.inputs.start)
        spans = box.spans if self.inputs.section is None else box.spans[1:]
        wanted = Box((Span(0, 1), tensor.extent.spans[1], *spans))
        return Window([], box.start, self.scratch.read(number, tensor, wanted))

    def compute(self, index: int, window: Window) -> Array:
        return self.staging.written(window.data)
