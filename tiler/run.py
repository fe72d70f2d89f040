"""A run from its first block to its final name: resolve, resume, execute, record, notify."""

from __future__ import annotations

import logging
import math
import shutil
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tiler.block import SegmentJob, checksum
from tiler.errors import Interrupted
from tiler.executors.serial import Serial
from tiler.geometry import Box, Grid
from tiler.instances import InstancesJob
from tiler.planning import Plan
from tiler.ports import (
    Calibration,
    Executor,
    Finished,
    Job,
    Json,
    Listener,
    OutputSpec,
    Predictor,
    Sink,
    Source,
    VolumeShape,
)
from tiler.sinks import open_sink
from tiler.statistics import StatisticsJob, scaling, strangeness

log = logging.getLogger(__name__)

MANY_CHUNKS = 10_000
"""From here on the chunks of a block go into one shard: file systems suffer from more."""


class Record(Protocol):
    """What a run needs of a journal."""

    def append(self, stage: str, index: int, record: Json) -> None: ...
    def records(self, stage: str) -> dict[int, Json]: ...


class Memo:
    """A record that lives as long as the process, for results that stay in memory."""

    def __init__(self) -> None:
        self._records: dict[str, dict[int, Json]] = {}

    def append(self, stage: str, index: int, record: Json) -> None:
        self._records.setdefault(stage, {})[index] = record

    def records(self, stage: str) -> dict[int, Json]:
        return dict(self._records.get(stage, {}))


class Silent:
    """A listener that says nothing but warnings, through `logging`."""

    def started(self, total: int, done: int) -> None: ...
    def finished_block(self, index: int, voxels: int) -> None: ...
    def stage(self, name: str) -> None: ...
    def warn(self, message: str) -> None:
        log.warning(message)


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
    attributes
        Provenance to store with the output.
    """

    plan: Plan
    source: Source
    predictor: Predictor
    output: Path | None
    kind: str
    statistics: str | None
    min_size: int
    dtype: np.dtype[Any]
    attributes: Json


def perform(task: Task, record: Record, executor: Executor, listener: Listener, stop: threading.Event) -> Sink:
    """Do what is not yet recorded, then give the output its name.

    Raises
    ------
    Interrupted
        If ``stop`` was set; what is finished stays so.
    BlockFailed
        If a block cannot be computed; likewise.
    """
    stages = _Stages(record, listener, stop)
    resuming = bool(record.records("created"))
    predictor = _measured(task, stages, executor)
    _warn_if_strange(task, listener)
    sink = final_sink(task)
    staged = model_sink(task) if task.kind == "instances" else sink
    if not resuming:
        for each in {id(sink): sink, id(staged): staged}.values():
            each.create()
        record.append("created", 0, {})
    job = SegmentJob(task.plan, task.source, predictor, staged)
    stages.run("model", job, task.plan.grid, executor)
    if task.kind == "instances":
        _number(task, stages, staged, sink)
    listener.stage("finish")
    sink.finish(task.attributes)
    record.append("finish", 0, {})
    _remove_stage(task.output)
    return sink


def final_sink(task: Task) -> Sink:
    return open_sink(task.output, output_spec(task))


def model_sink(task: Task) -> Sink:
    """Where the blocks of the model go: labels that wait for their numbers, or the output itself."""
    return open_sink(stage_path(task.output), label_spec(task)) if task.kind == "instances" else final_sink(task)


def agrees_with(task: Task, record: Record, samples: int = 3) -> bool:
    """Whether some recorded blocks come out the same from the source as it is now."""
    done = record.records("model")
    predictor = task.predictor
    if task.statistics is not None:
        predictor = scaled(task, record)
    job = SegmentJob(task.plan, task.source, predictor, open_sink(None, label_spec(task)))
    chosen = sorted(done)[:: max(1, len(done) // samples)]
    return all(checksum(job.compute(index, job.read(index))) == done[index]["checksum"] for index in chosen)


def stage_path(output: Path | None) -> Path | None:
    """Where labels wait for their numbers."""
    return None if output is None else output.with_name(f"{output.name}.stage.zarr")


def instance_rows(plan: Plan) -> int:
    return plan.block[1]


@dataclass(frozen=True, slots=True)
class _Stages:
    record: Record
    listener: Listener
    stop: threading.Event

    def run(self, name: str, job: Job, grid: Grid, executor: Executor) -> None:
        """Run the blocks of a stage that are not recorded, and record each as soon as it is durable."""
        done = self.record.records(name)
        self.listener.stage(name)
        self.listener.started(len(grid), len(done))
        todo = (index for index in range(len(grid)) if index not in done)
        for finished in executor.run(job, todo, self.stop):
            self._note(name, finished, grid)
        if len(self.record.records(name)) < len(grid):
            raise Interrupted("stopped between two blocks; the same command with --resume goes on")

    def _note(self, name: str, finished: Finished, grid: Grid) -> None:
        self.record.append(name, finished.index, finished.record)
        self.listener.finished_block(finished.index, grid[finished.index].voxels)


def _measured(task: Task, stages: _Stages, executor: Executor) -> Predictor:
    """The predictor, with the volume's statistics where its rule asks for them."""
    if task.statistics is None:
        return task.predictor
    job = StatisticsJob(task.source, task.plan.nan)
    stages.run("statistics", job, job.grid, executor)
    return scaled(task, stages.record)


def _warn_if_strange(task: Task, listener: Listener) -> None:
    expected = task.predictor.expects
    warning = expected and strangeness(task.source, task.plan.region, *expected)
    if warning:
        listener.warn(warning)


def scaled(task: Task, record: Record) -> Predictor:
    """The predictor with the statistics that were recorded."""
    found = scaling(str(task.statistics), record.records("statistics"), task.source.dtype)
    return task.predictor.with_statistics(found.mean, found.std)


def _number(task: Task, stages: _Stages, staged: Sink, sink: Sink) -> None:
    """Slices are numbered in order, since numbers go on from one to the next."""
    shape = task.plan.region.shape
    counted = sum(entry["count"] for entry in stages.record.records("instances").values())
    job = InstancesJob(staged, sink, shape, instance_rows(task.plan), task.min_size, task.dtype, counted)
    stages.run("instances", job, Grid(Box.of_shape(shape), (1, *shape[1:])), Serial())


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
    return OutputSpec(shape, predictor.dtype, region_calibration(task.source, plan.region), predictor.classes,
                      channels > 1, plan.block, plan.chunk, plan.block if chunks > MANY_CHUNKS else None, kind)


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
    flat = Calibration(("z", *whole.axes[-2:]), (folded, *whole.sizes[-2:]), (1.0, *whole.scale[-2:]),
                       (None, *whole.units[-2:]), (0.0, *whole.offset[-2:]))
    return _shifted(flat, region.shape, region.start)


def _shifted(whole: Calibration, sizes: tuple[int, ...], start: tuple[int, ...]) -> Calibration:
    offset = tuple(o + s * scale for o, s, scale in zip(whole.offset, start, whole.scale, strict=True))
    return replace(whole, sizes=sizes, offset=offset)


def _remove_stage(output: Path | None) -> None:
    path = stage_path(output)
    if path is not None:
        for leftover in path.parent.glob(f"{path.name}*"):
            shutil.rmtree(leftover)


