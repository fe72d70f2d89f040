"""A map that works ahead in threads and never holds more than a given number of results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

LEAST = 2
"""Least number of windows read ahead, and of results waiting to be written, so that the model never waits."""


@dataclass(frozen=True, slots=True)
class Depths:
    """Largest number of blocks in each step of a process at the same time.

    Parameters
    ----------
    workers
        Number of threads that read; as many write.
    feeders
        Number of threads that compute.
    """

    workers: int
    feeders: int

    @property
    def beside(self) -> int:
        """Blocks that are read ahead of the model; as many wait behind it to be written."""
        return max(LEAST, self.workers, self.feeders)

    @property
    def fed(self) -> int:
        """Blocks at the feeders; with several feeders one more, which waits for the first that becomes free."""
        return self.feeders + (self.feeders > 1)

    @property
    def held(self) -> int:
        """Windows in memory, and as many results, including one that is being mirrored or compressed."""
        return self.beside + self.fed + 1


def bounded_map(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, depth: int
) -> Generator[R, None, None]:
    """Yield ``function(item)`` in the order of ``items``, computed ahead in threads.

    Parameters
    ----------
    function
        Called in the threads.
    items
        Taken one by one in the caller's thread whenever there is room, so a generator runs in that thread.
    workers
        Number of threads.
    depth
        Largest number of results in progress or waiting; the one that the caller holds does not count.

    Notes
    -----
    An error in ``function`` or ``items`` is raised once the threads have ended; calls that have not begun are
    dropped. Closing the iterator has the same effect.
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix=f"tiler-{getattr(function, '__name__', 'work')}") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                del item  # frees its memory before the next item is taken
                if len(pending) >= depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
