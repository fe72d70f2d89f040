"""The three steps of a block, with every error turned into one that says which block it was."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tiler.errors import BlockFailed
from tiler.ports import Finished, Job

Numbered = tuple[int, Any]

computing = threading.Lock()
"""Held while computing where several threads of a process do whole blocks, so that one has all cores and the
memory that was foretold, while the others read and write."""


def until(stop: threading.Event, indices: Iterable[int]) -> Iterator[int]:
    """The indices up to the moment at which ``stop`` is set."""
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
        reason = str(error) or type(error).__name__
        raise BlockFailed(index, job.where(index), " ".join(reason.split())) from error
