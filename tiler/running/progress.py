"""The blocks of a stage, from the executor into the journal and to the listener."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Protocol

from tiler.activity import expecting
from tiler.errors import BlockFailed, BlocksFailed
from tiler.geometry import Box
from tiler.jobs.tried import FAILED, SECONDS, STOPS, SetAside, Tried
from tiler.ports import Executor, Finished, Job, Json, Listener, TimedListener
from tiler.running.stage import Stage

GIVE_UP = 10
"""Blocks that may fail one after the other before the run stops: it is not the blocks then."""

NAMED = 10
"""Blocks that an error names."""


class Record(Protocol):
    """The methods of a journal that a run uses."""

    def append(self, stage: str, index: int, record: Json, about: Json | None = None) -> None: ...
    def set_aside(self, stage: str, index: int, reason: str) -> None: ...
    def forget(self, stage: str, index: int) -> None: ...
    def records(self, stage: str) -> dict[int, Json]: ...


class Memo:
    """A record in memory, for results that stay in memory."""

    def __init__(self) -> None:
        self._records: dict[str, dict[int, Json]] = {}

    def append(self, stage: str, index: int, record: Json, about: Json | None = None) -> None:
        self._records.setdefault(stage, {})[index] = record

    def set_aside(self, stage: str, index: int, reason: str) -> None:
        """Nothing to do: no other run goes on with it."""

    def forget(self, stage: str, index: int) -> None:
        del self._records[stage][index]

    def records(self, stage: str) -> dict[int, Json]:
        return dict(self._records.get(stage, {}))


def whereabouts() -> Json:
    """This process and the time, for the journal."""
    return {"host": socket.gethostname(), "process": os.getpid(), "at": round(time.time(), 2)}


@dataclass(slots=True)
class Progress:
    """Runs the blocks of stages, records each as soon as it is durable, and sets aside those that fail.

    Parameters
    ----------
    record
        Journal of the run.
    listener
        Receives progress.
    stop
        Stops the run between two blocks.
    retries
        Number of times that a block is tried again.
    """

    record: Record
    listener: Listener
    stop: threading.Event
    retries: int
    _failed: dict[int, SetAside] = field(default_factory=dict)
    _in_a_row: int = 0

    def begin(self, stage: Stage) -> None:
        """Announce a stage."""
        self.listener.stage(stage.name)
        expecting(stage.tiles)
        self.listener.started(len(stage.grid), len(self.record.records(stage.name)))

    def through(self, stage: Stage, job: Job, executor: Executor, todo: Iterable[int]) -> None:
        """Run some blocks of a stage.

        Raises
        ------
        BlockFailed
            If a block failed in all tries, once the others are done; or at once if `GIVE_UP` failed in a row.
        """
        self._failed, self._in_a_row = {}, 0
        todo = iter(todo)
        for finished in (each for first in islice(todo, 1)  # a cluster is not started for nothing
                         for each in executor.run(Tried(job, self.retries), chain([first], todo), self.stop)):
            if FAILED in finished.record:
                self._set_aside(stage, job, finished)
            else:
                self._note(stage.name, finished, stage.grid)
        if self._failed:
            self._complain(job)

    def complete(self, stage: Stage) -> bool:
        """Whether all blocks of a stage are recorded."""
        return not stage.left(self.record.records(stage.name))

    def _note(self, name: str, finished: Finished, grid: Sequence[Box]) -> None:
        record, seconds = dict(finished.record), finished.record[SECONDS]
        del record[SECONDS]
        self.record.append(name, finished.index, record, {"at": round(time.time(), 2), SECONDS: seconds})
        self._in_a_row = 0
        if isinstance(self.listener, TimedListener):
            self.listener.times(*seconds)
        self.listener.finished_block(finished.index, grid[finished.index].voxels)

    def _set_aside(self, stage: Stage, job: Job, finished: Finished) -> None:
        reason = str(finished.record[FAILED])
        failure = finished.record if isinstance(finished.record, SetAside) else SetAside(RuntimeError(reason), 0)
        self.record.set_aside(stage.name, finished.index, reason)
        self._failed[finished.index] = failure
        self._in_a_row += 1
        if finished.record[STOPS] or (self._in_a_row == GIVE_UP and len(self._failed) < len(stage.grid)):
            self._complain(job)
        if len(self._failed) == 1 and len(stage.grid) > 1:
            self.listener.warn(f"block {finished.index} at {job.where(finished.index)} failed in "
                               f"{finished.record['tries']} tries and is set aside, the others go on: {reason}")

    def _complain(self, job: Job) -> None:
        """Raise the error that names the blocks which failed."""
        (index, first), *rest = sorted(self._failed.items())
        others = [f"block {other} at {job.where(other)}: {failure[FAILED]}" for other, failure in rest]
        if len(others) >= NAMED:
            others = [*others[: NAMED - 1], f"and {len(others) - NAMED + 1} more, which the journal names"]
        where, reason = job.where(index), first[FAILED]
        error = BlocksFailed(index, where, reason, tuple(others)) if others else BlockFailed(index, where, reason)
        raise error from first.error
