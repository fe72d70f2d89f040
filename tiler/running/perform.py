"""Perform a run, from its first block to its final name: stage by stage, recording each durable block."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from tiler.errors import Interrupted, SourceError, spelled_for_python
from tiler.executors import kept
from tiler.executors.serial import Serial
from tiler.jobs.kind_of_data import oddities
from tiler.jobs.scratch import Scratch
from tiler.planning.resolve import as_loaded
from tiler.planning.summary import by
from tiler.ports import Executor, InspectedSink, Json, Listener, Sink
from tiler.running.progress import Progress, Record
from tiler.running.run_spec import RunSpec, sinks_of
from tiler.running.stage import Findings, Stage, is_sound, is_touched
from tiler.running.stages import completed, stages_of
from tiler.running.team import Alone, Team

log = logging.getLogger(__name__)


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
        If blocks cannot be computed; finished blocks are kept.
    SourceError
        If the input changed while it was read: the output does not get its name.
    """
    sink = perform_with(Alone(record), run, record, executor, listener, stop)
    assert sink is not None, "a process alone finishes what it began"
    return sink


def perform_with(team: Team, run: RunSpec, record: Record, executor: Executor, listener: Listener,
                 stop: threading.Event) -> Sink | None:
    """The part of a process in a run that others may share; None if another one finishes the output.

    Raises
    ------
    TilerError
        As `perform`.
    """
    stages = stages_of(run)
    sinks = sinks_of(stages)
    inputs_before = _inputs(run, fresh=not record.records("created"))
    for warning in oddities(run.source, run.plan.region, run.predictor):
        listener.warn(warning)
    log.info("%s", _planned(run, stages))
    team.create(lambda: _create(sinks))
    progress = Progress(record, listener, stop, run.retries)
    with kept(executor, run.predictor.capabilities.feeders if run.plan.out_of_core else None) as lasting:
        remarks = _through(stages, team, progress, lasting)
    if remarks is None:
        return None
    _check_unchanged(run, inputs_before)
    if not team.may_finish():
        return None
    listener.stage("finish")
    sinks[-1].finish({**run.attributes, **remarks.about}, _Finishing(listener, stop))
    team.finished({**remarks.costs, **_marks(sinks[-1])})
    run.output.discard_stage()
    discard_scratch(run)
    return sinks[-1]


def discard_scratch(run: RunSpec) -> None:
    """Remove the tensors that a run stored on disk."""
    if run.scratch is not None:
        Scratch(run.scratch).clear()


def _planned(run: RunSpec, stages: Sequence[Stage]) -> str:
    """The plan in one line of the log."""
    plan = run.plan
    return (f"plan {plan.fingerprint[:12]}: region {by(plan.region.shape)}, tile {by(plan.tile)}, {len(plan.grid)} "
            f"blocks of {by(plan.block)}, batch {plan.batch}, {plan.estimate.peak_bytes / 1e9:.1f} GB expected; stages "
            f"{', '.join(stage.name for stage in stages)}")


@dataclass(frozen=True, slots=True)
class _Remarks:
    """Remarks of all stages for the metadata of the output, and for the last line of the journal."""

    about: dict[str, object] = field(default_factory=dict)
    costs: dict[str, object] = field(default_factory=dict)


def _through(stages: Sequence[Stage], team: Team, progress: Progress, executor: Executor) -> _Remarks | None:
    """All stages; None if this process leaves before the end."""
    found: dict[str, object] = {}
    remarks = _Remarks()
    for stage in stages:
        job = stage.job(found, progress.record.records(stage.name))
        progress.begin(stage)
        while not progress.complete(stage):
            progress.through(stage, job, Serial() if stage.sequential else executor, team.todo(stage))
            if not progress.complete(stage) and not team.wait(stage):
                return None
        found[stage.name] = stage.merge(found, progress.record.records(stage.name))
        for all_of, some in zip((remarks.about, remarks.costs), stage.remarks(found, job, progress.listener),
                                strict=True):
            all_of.update(some)
        stage.free()
        for name in stage.spent:
            found.pop(name, None)
    return remarks


def _create(sinks: Sequence[Sink]) -> None:
    for sink in reversed(sinks):
        sink.create()


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


