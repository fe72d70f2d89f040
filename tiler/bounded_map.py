"""Work ahead in threads, without ever holding more results than asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

LEAST = 2
"""Windows that are read ahead and results that wait to be written, at least, so that neither is waited for."""


@dataclass(frozen=True, slots=True)
class Depths:
    """How many blocks a process has in each step at once, at most.

    Parameters
    ----------
    workers
        Threads that read, and as many that write.
    feeders
        Threads that compute.
    """

    workers: int
    feeders: int

    @property
    def beside(self) -> int:
        """Read ahead of the model; as many are written behind it."""
        return max(LEAST, self.workers, self.feeders)

    @property
    def fed(self) -> int:
        """With the feeders: where there are several, one more, which waits for the first of them to be free."""
        return self.feeders + (self.feeders > 1)

    @property
    def held(self) -> int:
        """Windows in memory, and as many results: one more of each is being mirrored, or compressed."""
        return self.beside + self.fed + 1


def bounded_map(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, depth: int
) -> Generator[R, None, None]:
    """Results of ``function`` in the order of ``items``, computed ahead by ``workers`` threads.

    Parameters
    ----------
    function
        Called in the threads.
    items
        Drawn in the caller's thread, one whenever there is room: a generator that computes does so there.
    workers
        Number of threads.
    depth
        How many results may be under way or waiting at once, the one in the caller's hands not counted.

    Notes
    -----
    The first error, of ``function`` or of ``items``, is raised after the threads have ended; calls not yet
    begun are dropped. The same happens when the iterator is closed.
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix=f"tiler-{getattr(function, '__name__', 'work')}") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                del item  # or its memory would live on until the next one is drawn
                if len(pending) >= depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
