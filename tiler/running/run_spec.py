"""What one run works with, and where its results go."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tiler.geometry import Box, Shape
from tiler.planning.plan import Plan
from tiler.ports import Calibration, Json, OutputSpec, Predictor, Room, Sink, Source, VolumeShape
from tiler.sinks import open_sink
from tiler.stores.address import Place
from tiler.stores.label_places import beside

MANY_CHUNKS = 10_000
"""From here on the chunks of a block go into one shard: file systems suffer from more."""


@dataclass(frozen=True, slots=True)
class Task:
    """All that one run works with.

    Parameters
    ----------
    plan, source, predictor
        What to compute.
    output
        Where to; None for an array in memory.
    kind
        "probabilities", "labels" or "instances".
    statistics
        The rule of a first pass over the volume, e.g. ``volume``; None for none.
    min_size
        Smallest instance in voxels.
    dtype
        Of instances.
    ngff
        Version of OME-Zarr outputs.
    attributes
        Provenance to store with the output.
    """

    plan: Plan
    source: Source
    predictor: Predictor
    output: Place | None
    kind: str
    statistics: str | None
    min_size: int
    dtype: np.dtype[Any]
    ngff: str
    attributes: Json


def final_sink(task: Task) -> Sink:
    return open_sink(task.output, output_spec(task))


def model_sink(task: Task) -> Sink:
    """Where the blocks of the model go: labels that wait for their numbers, or the output itself."""
    return open_sink(stage_path(task.output), label_spec(task)) if task.kind == "instances" else final_sink(task)


def room_of(task: Task) -> Room:
    """What the output takes of the disk, the labels that wait for their numbers included."""
    room = final_sink(task).room
    return replace(room, temporary=room.temporary + model_sink(task).room.output) if task.kind == "instances" else room


def stage_path(output: Place | None) -> Place | None:
    """Where labels wait for their numbers."""
    return None if output is None else beside(output, ".stage.zarr")


def instance_rows(plan: Plan) -> int:
    return plan.block[1]


def output_spec(task: Task) -> OutputSpec:
    """What the final sink is made for."""
    labels = label_spec(task)
    if task.kind == "instances":
        block, chunk = (1, instance_rows(task.plan), labels.shape[3]), (1, *task.plan.chunk[1:])
        return replace(labels, dtype=task.dtype, kind="instances", block=block, chunk=chunk, shard=None)
    return labels


def label_spec(task: Task) -> OutputSpec:
    """What the sink of the model's own output is made for."""
    plan, predictor = task.plan, task.predictor
    channels = len(predictor.classes)
    depth, height, width = plan.region.shape
    shape: VolumeShape = (channels, depth, height, width)
    kind = "labels" if task.kind == "instances" else task.kind
    chunks = math.prod(-(-size // side) for size, side in zip(plan.region.shape, plan.chunk, strict=True))
    return OutputSpec(
        shape,
        predictor.dtype,
        region_calibration(task.source, plan.region),
        predictor.classes,
        channels > 1,
        plan.block,
        plan.chunk,
        _whole_chunks(plan) if chunks > MANY_CHUNKS else None,
        kind,
        task.ngff,
    )


def _whole_chunks(plan: Plan) -> Shape:
    """A block as a shard: where it covers an axis its chunks need not divide it."""
    return tuple(-(-side // chunk) * chunk for side, chunk in zip(plan.block, plan.chunk, strict=True))


def region_calibration(source: Source, region: Box) -> Calibration:
    """Axes and offset of a region; folded axes are unfolded again where the region holds all of them."""
    whole, folded = source.calibration, source.shape[1]
    if len(whole.axes) == 2:
        return _shifted(whole, (*region.shape[1:],), (*region.start[1:],))
    if len(whole.axes) == 3:
        return _shifted(whole, region.shape, region.start)
    if region.shape[0] == folded:
        lead = whole.sizes[:-2]
        return _shifted(whole, (*lead, *region.shape[1:]), (*(0,) * len(lead), *region.start[1:]))
    flat = Calibration(
        ("z", *whole.axes[-2:]),
        (folded, *whole.sizes[-2:]),
        (1.0, *whole.scale[-2:]),
        (None, *whole.units[-2:]),
        (0.0, *whole.offset[-2:]),
    )
    return _shifted(flat, region.shape, region.start)


def _shifted(whole: Calibration, sizes: tuple[int, ...], start: tuple[int, ...]) -> Calibration:
    offset = tuple(o + s * scale for o, s, scale in zip(whole.offset, start, whole.scale, strict=True))
    return replace(whole, sizes=sizes, offset=offset)
