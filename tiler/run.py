"""A run from its first block to its final name: resolve, resume, execute, record, notify."""

from __future__ import annotations

import logging
import shutil
import threading
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Protocol

from tiler.block import SegmentJob, checksum
from tiler.errors import Interrupted
from tiler.executors.serial import Serial
from tiler.geometry import Box, Grid
from tiler.instances import InstancesJob
from tiler.ports import Executor, Finished, Job, Json, Listener, Predictor, Sink
from tiler.sinks import open_sink
from tiler.statistics import StatisticsJob, scaling, strangeness
from tiler.task import Task, final_sink, instance_rows, label_spec, model_sink, stage_path

log = logging.getLogger(__name__)


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
    remove_stage(task.output)
    return sink


def agrees_with(task: Task, record: Record, samples: int = 3) -> bool:
    """Whether some recorded blocks come out the same from the source as it is now."""
    done = record.records("model")
    predictor = task.predictor
    if task.statistics is not None:
        predictor = scaled(task, record)
    job = SegmentJob(task.plan, task.source, predictor, open_sink(None, label_spec(task)))
    chosen = sorted(done)[:: max(1, len(done) // samples)]
    return all(checksum(job.compute(index, job.read(index))) == done[index]["checksum"] for index in chosen)


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


def remove_stage(output: Path | None) -> None:
    """Remove the labels that waited for their numbers."""
    path = stage_path(output)
    if path is not None:
        for leftover in path.parent.glob(f"{escape(path.name)}*"):
            shutil.rmtree(leftover)
