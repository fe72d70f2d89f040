"""Ports of a run: jobs, executors that run them, and listeners that receive progress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tiler.ports.volumes import Json

if TYPE_CHECKING:
    import threading


class Listener(Protocol):
    """Receives the progress of a run. Called from the driver's thread only."""

    def started(self, total: int, done: int) -> None:
        """Announce a stage of ``total`` blocks (in "finish": pieces), of which ``done`` are already journalled."""
        ...

    def finished_block(self, index: int, voxels: int) -> None: ...

    def stage(self, name: str) -> None:
        """Announce the name of the next stage: "statistics", "pass 1", "model", "instances", "finish"."""
        ...

    def warn(self, message: str) -> None: ...


@runtime_checkable
class TimedListener(Listener, Protocol):
    """A listener that also receives what blocks cost, and notes that are not warnings."""

    def times(self, read: float, compute: float, write: float) -> None:
        """Seconds that the steps of one block took, called before `finished_block`."""
        ...

    def note(self, message: str) -> None:
        """Something that the user should know and need not act on."""
        ...


class Job(Protocol):
    """The work of one stage, cut into numbered blocks. Picklable.

    Attributes
    ----------
    feeders
        Number of threads that may compute at the same time.
    """

    @property
    def feeders(self) -> int: ...

    def where(self, index: int) -> str:
        """Return the box of a block as text, for messages."""
        ...

    def read(self, index: int) -> Any:
        """Read the input of block ``index``; safe to run ahead in another thread."""
        ...

    def compute(self, index: int, window: Any) -> Any:
        """Compute the result of a block from its input; runs in as many threads as there are feeders."""
        ...

    def write(self, index: int, result: Any) -> Json:
        """Store the result durably and return the record for the journal."""
        ...


@dataclass(frozen=True, slots=True)
class Finished:
    """A block whose data are durable, and its record for the journal."""

    index: int
    record: Json = field(default_factory=dict)


@runtime_checkable
class Executor(Protocol):
    """Runs the blocks of a job; the choice of an executor must not change any result."""

    def run(self, job: Job, indices: Iterable[int], stop: threading.Event) -> Iterator[Finished]:
        """Yield blocks as they become durable, in any order.

        Once ``stop`` is set no new block is started; those in progress are finished and yielded. An error in any step
        is raised here as `tiler.errors.BlockFailed` after the threads have ended.
        """
        ...
