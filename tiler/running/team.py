"""Who does which blocks of a run: one process alone, or several that share it (`tiler.running.parts`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from tiler.errors import Interrupted
from tiler.ports import Json
from tiler.running.progress import Record, whereabouts
from tiler.running.stage import Stage


class Team(Protocol):
    """How the processes of a run share its work."""

    def create(self, make: Callable[[], None]) -> None:
        """Return once the empty output is there, which one process makes."""
        ...

    def todo(self, stage: Stage) -> Iterator[int]:
        """Yield the blocks of a stage that this process should do now; never waits."""
        ...

    def wait(self, stage: Stage) -> bool:
        """Wait a moment for blocks that others do; False if this process should leave.

        Raises
        ------
        Interrupted
            If the run was stopped.
        """
        ...

    def may_finish(self) -> bool:
        """Whether this process puts the finished blocks together."""
        ...

    def finished(self, record: Json) -> None:
        """Record that the output has its name."""
        ...


class Alone:
    """A single process.

    Parameters
    ----------
    record
        Journal of the run.
    """

    def __init__(self, record: Record) -> None:
        self._record = record

    def create(self, make: Callable[[], None]) -> None:
        if not self._record.records("created"):
            make()
            self._record.append("created", 0, {}, whereabouts())

    def todo(self, stage: Stage) -> Iterator[int]:
        return iter(stage.left(self._record.records(stage.name)))

    def wait(self, stage: Stage) -> bool:
        raise Interrupted("stopped between two blocks; the same command with `resume=True` goes on")

    def may_finish(self) -> bool:
        return True

    def finished(self, record: Json) -> None:
        self._record.append("finish", 0, record)
