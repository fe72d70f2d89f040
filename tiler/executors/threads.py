"""Readers ahead, the model in the calling thread, writers behind.

::

    indices -> read (threads) -> compute (caller) -> write (threads) -> finished
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from tiler.choosing import AHEAD, BEHIND
from tiler.executors.guard import compute, read, until, write
from tiler.flow import bounded_map
from tiler.ports import Finished, Job


@dataclass(frozen=True, slots=True)
class Threads:
    """A `tiler.ports.Executor` that overlaps reading, computing and writing.

    Parameters
    ----------
    workers
        Threads that read, and as many that write.
    """

    workers: int = 2

    def run(self, job: Job, indices: Iterable[int], stop: threading.Event) -> Iterator[Finished]:
        windows = bounded_map(partial(read, job), until(stop, indices), workers=self.workers, depth=AHEAD)
        with closing(windows):
            results = (compute(job, window) for window in windows)
            finished = bounded_map(partial(write, job), results, workers=self.workers, depth=BEHIND)
            with closing(finished):
                yield from finished
