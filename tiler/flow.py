"""Work ahead in threads, without ever holding more results than asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


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
