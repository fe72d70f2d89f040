"""Overlap reading, computing and writing; the model runs in the calling thread, or in one thread per feeder.

::

    indices -> read (threads) -> compute (caller, or a thread for each feeder) -> write (threads) -> finished
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from tiler.bounded_map import Depths, bounded_map
from tiler.executors.block_steps import Numbered, compute, read, until, write
from tiler.ports import Finished, Job


@dataclass(frozen=True, slots=True)
class Threads:
    """A `tiler.ports.Executor` that overlaps reading, computing and writing.

    Parameters
    ----------
    workers
        Number of threads that read; as many write.
    """

    workers: int = 2

    def run(self, job: Job, indices: Iterable[int], stop: threading.Event) -> Iterator[Finished]:
        depths = Depths(self.workers, job.feeders)
        windows = bounded_map(partial(read, job), until(stop, indices), workers=self.workers, depth=depths.beside)
        with closing(windows), closing(_computed(job, windows, depths)) as results:
            finished = bounded_map(partial(write, job), results, workers=self.workers, depth=depths.beside)
            with closing(finished):
                yield from finished


def _computed(job: Job, windows: Iterable[Numbered], depths: Depths) -> Generator[Numbered, None, None]:
    """Yield the results in order. A single feeder needs no thread, because the caller has nothing else to do."""
    if depths.feeders == 1:
        return (compute(job, window) for window in windows)
    return bounded_map(partial(compute, job), windows, workers=depths.feeders, depth=depths.fed)
