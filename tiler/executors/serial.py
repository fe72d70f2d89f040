"""The simplest executor: one block after the other in the caller's thread."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tiler.executors.block_steps import compute, read, until, write
from tiler.ports import Finished, Job


@dataclass(frozen=True, slots=True)
class Serial:
    """A `tiler.ports.Executor` without threads."""

    def run(self, job: Job, indices: Iterable[int], stop: threading.Event) -> Iterator[Finished]:
        for index in until(stop, indices):
            yield write(job, compute(job, read(job, index)))
