"""The three steps of a block; every error is converted to one that names the block."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tiler.errors import BlockFailed, marked_line
from tiler.ports import Finished, Job

Numbered = tuple[int, Any]


class _Turns:
    """Limits the number of threads that compute at once to the feeders of the job.

    If several threads of a process run whole blocks, the computing ones have all cores and the planned memory, while
    the others read and write.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._left = threading.Condition()

    @contextmanager
    def __call__(self, job: Job) -> Iterator[None]:
        with self._left:
            self._left.wait_for(lambda: self._inside < job.feeders)
            self._inside += 1
        try:
            yield
        finally:
            with self._left:
                self._inside -= 1
                self._left.notify_all()


computing = _Turns()
"""The turns of this process."""


def until(stop: threading.Event, indices: Iterable[int]) -> Iterator[int]:
    """Yield indices until ``stop`` is set."""
    for index in indices:
        if stop.is_set():
            return
        yield index


def read(job: Job, index: int) -> Numbered:
    with _blamed(job, index):
        return index, job.read(index)


def compute(job: Job, window: Numbered) -> Numbered:
    with _blamed(job, window[0]):
        return window[0], job.compute(*window)


def write(job: Job, result: Numbered) -> Finished:
    with _blamed(job, result[0]):
        return Finished(result[0], job.write(*result))


@contextmanager
def _blamed(job: Job, index: int) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise BlockFailed(index, job.where(index), marked_line(error)) from error
