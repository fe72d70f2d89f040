"""What does the work, what work is, and who hears of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tiler.ports.volumes import Json

if TYPE_CHECKING:
    import threading


class Listener(Protocol):
    """Hears what a run does. Called from the driver's thread only."""

    def started(self, total: int, done: int) -> None:
        """A stage of ``total`` blocks (in "finish": pieces) begins, of which ``done`` are already journalled."""
        ...

    def finished_block(self, index: int, voxels: int) -> None: ...

    def stage(self, name: str) -> None:
        """What comes next: "statistics", "pass 1", "model", "instances", "finish"."""
        ...

    def warn(self, message: str) -> None: ...


class Job(Protocol):
    """The work of one stage, cut into numbered blocks. Picklable.

    Attributes
    ----------
    feeders
        How many threads may compute at once.
    """

    @property
    def feeders(self) -> int: ...

    def where(self, index: int) -> str:
        """The box of a block, for messages."""
        ...

    def read(self, index: int) -> Any:
        """Fetch what block ``index`` needs. Input only: safe to run ahead in another thread."""
        ...

    def compute(self, index: int, window: Any) -> Any:
        """Turn it into the block's result. Runs in as many threads as there are feeders."""
        ...

    def write(self, index: int, result: Any) -> Json:
        """Store it durably and return what the journal records."""
        ...


@dataclass(frozen=True, slots=True)
class Finished:
    """A block that is durable, and what the journal records of it."""

    index: int
    record: Json = field(default_factory=dict)


@runtime_checkable
class Executor(Protocol):
    """Runs a job's blocks. What it does may not change any result."""

    def run(self, job: Job, indices: Iterable[int], stop: threading.Event) -> Iterator[Finished]:
        """Yield blocks as they become durable, in any order.

        Once ``stop`` is set no new block is begun; those under way are finished and yielded. An error in
        any stage is raised here as `tiler.errors.BlockFailed`, after the threads have ended.
        """
        ...
