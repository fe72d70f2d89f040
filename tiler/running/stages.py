"""A run from its first block to its final name: resolve, resume, execute, record, notify."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tiler.errors import Interrupted
from tiler.executors.serial import Serial
from tiler.geometry import Box, Grid
from tiler.jobs.blend import segment_job
from tiler.jobs.instances import InstancesJob
from tiler.jobs.reduce import ReductionJob, stage_name
from tiler.jobs.seams import note_of
from tiler.jobs.segment import checksum
from tiler.jobs.statistics import StatisticsJob, scaling, strangeness
from tiler.planning.workload import Choice, Workload
from tiler.ports import Executor, Finished, Job, Json, Known, Listener, Predictor, Sink, Source
from tiler.running.run_spec import Task, final_sink, instance_rows, label_spec, model_sink, stage_path
from tiler.sinks import open_sink
from tiler.sinks.target import Target
from tiler.sources.cached import CachedSource
from tiler.stores import asking
from tiler.stores.address import Address, Place

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
    source = _kept(task)
    job = segment_job(task.plan, source, predictor, staged, _passed(task, predictor, stages, executor))
    stages.run("model", job, task.plan.grid, executor, task.plan.order)
    found = _decoded(task, source)
    approximation = _approximation(task, predictor, staged, listener)
    if task.kind == "instances":
        _number(task, stages, staged, sink)
    listener.stage("finish")
    sink.finish({**task.attributes, **approximation}, _Finishing(listener, stop))
    record.append("finish", 0, found)
    remove_stage(task.output)
    return sink


def agrees_with(task: Task, record: Record, samples: int = 3) -> bool:
    """Whether some recorded blocks come out the same from the source as it is now."""
    done = record.records("model")
    predictor = task.predictor
    if task.statistics is not None:
        predictor = scaled(task, record)
    if not done:
        return _passes_agree(task, predictor, record, samples)
    known = known_from(task, predictor, record)
    job = segment_job(task.plan, task.source, predictor, open_sink(None, label_spec(task)), known)
    return all(checksum(job.compute(index, job.read(index))) == done[index]["checksum"]
               for index in _sampled(done, samples))


def _passes_agree(task: Task, predictor: Predictor, record: Record, samples: int) -> bool:
    """The same for a run that was stopped in the first of its passes over the network inputs."""
    for job in reduction_jobs(task, predictor, record):
        done = record.records(stage_name(job.level))
        return all(job.write(index, job.compute(index, job.read(index))) == done[index]
                   for index in _sampled(done, samples))
    return True


def _sampled(done: dict[int, Json], samples: int) -> list[int]:
    return sorted(done)[:: max(1, len(done) // samples)]


@dataclass(slots=True)
class _Finishing:
    """What a sink does when all blocks are there, as one more stage that can be stopped between two pieces."""

    listener: Listener
    stop: threading.Event
    total: int = 0
    done: int = 0

    def begin(self, total: int) -> None:
        self.total = total
        if total:
            self.listener.started(total, 0)

    def made(self, voxels: int) -> None:
        self.listener.finished_block(self.done, voxels)
        self.done += 1
        if self.stop.is_set() and self.done < self.total:
            raise Interrupted("stopped while the finished blocks were put together; the same command with --resume "
                              "goes on")


@dataclass(frozen=True, slots=True)
class _Stages:
    record: Record
    listener: Listener
    stop: threading.Event

    def run(self, name: str, job: Job, grid: Sequence[Box], executor: Executor,
            order: Iterable[int] | None = None) -> None:
        """Run the blocks of a stage that are not recorded, and record each as soon as it is durable."""
        done = self.record.records(name)
        self.listener.stage(name)
        self.listener.started(len(grid), len(done))
        todo = (index for index in order or range(len(grid)) if index not in done)
        for finished in executor.run(job, todo, self.stop):
            self._note(name, finished, grid)
        if len(self.record.records(name)) < len(grid):
            raise Interrupted("stopped between two blocks; the same command with --resume goes on")

    def _note(self, name: str, finished: Finished, grid: Sequence[Box]) -> None:
        self.record.append(name, finished.index, finished.record)
        self.listener.finished_block(finished.index, grid[finished.index].voxels)


def _kept(task: Task) -> Source:
    """The source, with a cache where the plan has one."""
    plan = task.plan
    if not plan.cache:
        return task.source
    chunks = Workload(task.source, task.predictor, plan.region, plan.canvas).chunks(Choice(plan.tile, plan.block))
    later = tuple(axis.successors(length) for axis, length in zip(chunks, plan.strip, strict=True))
    return CachedSource(task.source, plan.cache, later)


def _decoded(task: Task, source: Source) -> Json:
    """How much of the input was decoded, for the record; what other processes decode is not known here."""
    if not isinstance(source, CachedSource) or not source.decoded:
        return {}
    voxel = task.source.shape[0] * task.source.dtype.itemsize
    log.info("decoded %d bytes, %d were planned", source.decoded * voxel, task.plan.estimate.bytes_decoded)
    return {"bytes_decoded": source.decoded * voxel}


def _measured(task: Task, stages: _Stages, executor: Executor) -> Predictor:
    """The predictor, with the volume's statistics where its rule asks for them."""
    if task.statistics is None:
        return task.predictor
    job = StatisticsJob(task.source, task.plan.nan)
    stages.run("statistics", job, job.grid, executor)
    return scaled(task, stages.record)


def _passed(task: Task, predictor: Predictor, stages: _Stages, executor: Executor) -> Known | None:
    """What the passes before the last one find of every network input; None where none are needed."""
    for job in reduction_jobs(task, predictor, stages.record):
        stages.run(stage_name(job.level), job, job.blocks, executor)
    return known_from(task, predictor, stages.record)


def known_from(task: Task, predictor: Predictor, record: Record) -> Known | None:
    """The same from the record of passes that are complete."""
    known = None
    for job in reduction_jobs(task, predictor, record):
        known = job.merged(record.records(stage_name(job.level)))
    return known


def reduction_jobs(task: Task, predictor: Predictor, record: Record) -> Iterator[ReductionJob]:
    """The passes before the last one, each with what is recorded of those before it when its turn comes."""
    passes = predictor.capabilities.passes
    if passes is None:
        return
    known = Known({}, passes.of_slices)
    for level in range(len(passes.reductions)):
        job = ReductionJob(task.plan, task.source, predictor, known, level)
        yield job
        known = job.merged(record.records(stage_name(level)))


def _approximation(task: Task, predictor: Predictor, sink: Sink, listener: Listener) -> Json:
    """What the output says about itself where it is blended, said to the user too."""
    if task.plan.tiling != "blend":
        return {}
    note = note_of(task.plan, task.source, predictor, sink)
    listener.warn(note["says"])
    return {"approximation": note}


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


def remove_stage(output: Place | None) -> None:
    """Remove the labels that waited for their numbers."""
    if isinstance(output, Address):
        asking().remove(stage_path(output))
    elif output is not None:
        for leftover in stage_leftovers(output):
            shutil.rmtree(leftover)


def stage_leftovers(output: Path) -> list[Path]:
    """What there is of the labels that waited for their numbers, whole or not; nothing else of a similar name."""
    stage = Target(Path(str(stage_path(output))))
    return [path for path in (stage.path, stage.partial, stage.aside) if path.is_dir()]
