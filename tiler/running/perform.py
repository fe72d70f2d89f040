"""Perform a run, from its first block to its final name: stage by stage, recording each durable block."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tiler.activity import expecting
from tiler.errors import Interrupted, SourceError, spelled_for_python
from tiler.executors import kept
from tiler.executors.serial import Serial
from tiler.geometry import Box
from tiler.jobs.kind_of_data import oddities
from tiler.jobs.scratch import Scratch
from tiler.planning.resolve import as_loaded
from tiler.ports import Executor, Finished, InspectedSink, Job, Json, Listener, Sink
from tiler.running.run_spec import RunSpec, sinks_of
from tiler.running.stage import Findings, Stage, is_sound, is_touched
from tiler.running.stages import completed, stages_of

log = logging.getLogger(__name__)


class Record(Protocol):
    """The methods of a journal that a run uses."""

    def append(self, stage: str, index: int, record: Json) -> None: ...
    def forget(self, stage: str, index: int) -> None: ...
    def records(self, stage: str) -> dict[int, Json]: ...


class Memo:
    """A record in memory, for results that stay in memory."""

    def __init__(self) -> None:
        self._records: dict[str, dict[int, Json]] = {}

    def append(self, stage: str, index: int, record: Json) -> None:
        self._records.setdefault(stage, {})[index] = record

    def forget(self, stage: str, index: int) -> None:
        del self._records[stage][index]

    def records(self, stage: str) -> dict[int, Json]:
        return dict(self._records.get(stage, {}))


class Silent:
    """A listener that only logs warnings, through `logging`."""

    def started(self, total: int, done: int) -> None: ...
    def finished_block(self, index: int, voxels: int) -> None: ...
    def stage(self, name: str) -> None: ...
    def warn(self, message: str) -> None:
        log.warning(spelled_for_python(message))


def perform(run: RunSpec, record: Record, executor: Executor, listener: Listener, stop: threading.Event) -> Sink:
    """Compute the blocks that are not recorded, then give the output its name.

    Raises
    ------
    Interrupted
        If ``stop`` was set; finished blocks are kept.
    BlockFailed
        If a block cannot be computed; finished blocks are kept.
    SourceError
        If the input changed while it was read: the output does not get its name.
    """
    stages = stages_of(run)
    sinks = sinks_of(stages)
    inputs_before = _inputs(run, fresh=not record.records("created"))
    for warning in oddities(run.source, run.plan.region, run.predictor):
        listener.warn(warning)
    if not record.records("created"):
        for sink in reversed(sinks):
            sink.create()
        record.append("created", 0, {})
    with kept(executor, run.predictor.capabilities.feeders if run.plan.out_of_core else None) as lasting:
        about, costs = _Progress(record, listener, stop, lasting).through_all(stages)
    _check_unchanged(run, inputs_before)
    listener.stage("finish")
    sinks[-1].finish({**run.attributes, **about}, _Finishing(listener, stop))
    record.append("finish", 0, {**costs, **_marks(sinks[-1])})
    run.output.discard_stage()
    discard_scratch(run)
    return sinks[-1]


def discard_scratch(run: RunSpec) -> None:
    """Remove the tensors that a run stored on disk."""
    if run.scratch is not None:
        Scratch(run.scratch).clear()


def _marks(sink: Sink) -> Json:
    """Hashes with which `tiler check` detects changes of the finished output."""
    return {"marks": dict(sink.marks())} if isinstance(sink, InspectedSink) else {}


def _inputs(run: RunSpec, *, fresh: bool) -> Json:
    """The input and the mask as they are now; for a run that begins, as they were when it was planned."""
    return {name: run.plan.essence.get(name) for name in ("source", "part")} if fresh else _told(run)


def _told(run: RunSpec) -> Json:
    """The identities of the input and of the mask as they are now, as JSON gives them back."""
    return as_loaded({"source": run.source.identity, "part": None if run.part is None else run.part.to_json()})


def _check_unchanged(run: RunSpec, before: Json) -> None:
    """Refuse a result of which some blocks were read before and some after a change of the input or of the mask."""
    try:
        now = _told(run)
    except SourceError as error:
        raise SourceError(f"{error.marked}: it was there when the run began, so that the result may be of something "
                          "else: start anew with `overwrite=True`") from None
    for name, what in (("source", run.source.name), ("part", "the mask")):
        if now[name] != before[name]:
            raise SourceError(f"{what} has changed while it was read, so that the result may mix what it was and what "
                              "it is: start anew with `overwrite=True`")


def agrees_with(stages: Sequence[Stage], record: Record, samples: int = 3) -> bool:
    """Whether a sample of recorded blocks of every stage is reproduced from the present input."""
    return all(_agree(stage, found, dict(records), samples) for stage, found, records in completed(stages, record)
               if stage.reads_input)


def _agree(stage: Stage, found: Findings, records: dict[int, Json], samples: int) -> bool:
    sampled = sorted(records)[:: max(1, len(records) // samples)]
    return all(records[index].items() >= stage.again(found, index).items() for index in sampled)


def forget_unsound(stages: Sequence[Stage], record: Record, every: bool) -> int:
    """Withdraw the records of blocks whose stored voxels do not match their checksum, and count them.

    Parameters
    ----------
    every
        Whether to read all blocks, or only those whose files changed after writing.
    """
    by_name = {stage.name: stage for stage in stages}
    bad = [(name, index) for name, stage in by_name.items() for index, content in sorted(record.records(name).items())
           if (every or is_touched(stage, index, content)) and not is_sound(stage, index, content)]
    for name, index in bad:
        record.forget(name, index)
    return len(bad)


@dataclass(slots=True)
class _Finishing:
    """Finish the sink after all blocks are written: one more stage, which can be stopped between two pieces."""

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
            raise Interrupted("stopped while the finished blocks were put together; the same command with "
                              "`resume=True` goes on")


@dataclass(frozen=True, slots=True)
class _Progress:
    record: Record
    listener: Listener
    stop: threading.Event
    executor: Executor

    def through_all(self, stages: Sequence[Stage]) -> tuple[Json, Json]:
        """Run all stages; return the entries that they add to metadata and to the journal's last line."""
        found, about, costs = dict[str, object](), dict[str, object](), dict[str, object]()
        for stage in stages:
            job = stage.job(found, self.record.records(stage.name))
            self._through(stage, job)
            found[stage.name] = stage.merge(found, self.record.records(stage.name))
            for all_of, some in zip((about, costs), stage.remarks(found, job, self.listener), strict=True):
                all_of.update(some)
            stage.free()
            for name in stage.spent:
                found.pop(name, None)
        return about, costs

    def _through(self, stage: Stage, job: Job) -> None:
        """Run the blocks of a stage that are not recorded, and record each as soon as it is durable."""
        done, grid = self.record.records(stage.name), stage.grid
        todo = stage.left(done)
        self.listener.stage(stage.name)
        expecting(stage.tiles)
        self.listener.started(len(grid), len(done))
        if todo:  # a cluster is not started for nothing
            executor = Serial() if stage.sequential else self.executor
            for finished in executor.run(job, todo, self.stop):
                self._note(stage.name, finished, grid)
        if stage.left(self.record.records(stage.name)):
            raise Interrupted("stopped between two blocks; the same command with `resume=True` goes on")

    def _note(self, name: str, finished: Finished, grid: Sequence[Box]) -> None:
        self.record.append(name, finished.index, finished.record)
        self.listener.finished_block(finished.index, grid[finished.index].voxels)
