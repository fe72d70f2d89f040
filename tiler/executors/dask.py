"""Run blocks on a cluster of `dask.distributed`: new processes on this machine, or existing workers.

::

    indices -> submit (driver, a few ahead) -> read, compute, write (a worker's thread) -> finished (driver)

Only block numbers and records are sent. If a worker is lost, another one repeats its block and writes the same bytes.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client, Future, KilledWorker, as_completed
from distributed.comm.core import CommClosedError

from tiler.errors import BlockFailed, PlanError, TilerError, marked_line
from tiler.executors.block_steps import compute, computing, read, until, write
from tiler.executors.cluster import Versions, check_here, check_workers, connected, versions
from tiler.ports import Finished, Job
from tiler.sinks.mapped import MappedSink


@dataclass(frozen=True, slots=True)
class Dask:
    """A `tiler.ports.Executor` for more than one process.

    Parameters
    ----------
    workers
        Number of processes to start on this machine if no scheduler is given.
    scheduler
        Address of a running scheduler, such as ``tcp://10.0.0.1:8786``, or the path of its scheduler file.
    client
        Connection to use for every job; None connects for each.
    """

    workers: int = 2
    scheduler: str | None = None
    client: Client | None = field(default=None, repr=False, compare=False)

    @contextmanager
    def kept(self, feeders: int) -> Iterator[Dask]:
        """An executor that uses one connection for all jobs with that many feeders."""
        with connected(self.workers, 1 + feeders, self.scheduler) as client:
            yield replace(self, client=client)

    def run(self, job: Job, indices: Iterable[int], stop: threading.Event) -> Iterator[Finished]:
        lasting = nullcontext(self.client)
        with connected(self.workers, 1 + job.feeders, self.scheduler) if self.client is None else lasting as client:
            assert client is not None
            check_reach(job, client.nthreads())
            yield from _Stream(client, job).run(until(stop, indices))


@dataclass(slots=True)
class _Stream:
    """The blocks of one job; the cluster receives only those that it can begin at once, and a few more."""

    client: Client
    job: Job
    indices: dict[str, int] = field(default_factory=dict)
    failure: BlockFailed | None = None

    def run(self, indices: Iterable[int]) -> Iterator[Finished]:
        held, todo = self._hold(), iter(indices)
        underway = as_completed(loop=self.client.loop)
        try:
            self._fill(underway, held, todo)
            for future in underway:
                finished = self._result(future)
                self._fill(underway, held, todo)
                if finished is not None:
                    yield finished
        finally:
            self.client.cancel([*underway.futures, held])
        if self.failure is not None:
            raise self.failure

    def _hold(self) -> Future[Any]:
        """The job as a task that gives itself: it reaches each worker once, also in place of one that is lost,
        where scattered data would be lost with it."""
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TiB"}):
            return self.client.submit(_itself, self.job, key=f"tiler-job-{uuid.uuid4().hex}")

    def _fill(self, underway: Any, held: Future[Any], todo: Iterator[int]) -> None:
        """Give every thread of the cluster a block, and every worker one more to continue with."""
        if self.failure is not None:
            return
        threads = self.client.nthreads().values()
        room = max(1, sum(threads) + len(threads)) - underway.count()
        for index in islice(todo, max(0, room)):  # empty if a worker was lost
            future = self.client.submit(run_block, held, index, versions(), key=f"tiler-block-{uuid.uuid4().hex}")
            self.indices[str(future.key)] = index
            underway.add(future)

    def _result(self, future: Future[Any]) -> Finished | None:
        """The result of a block. An error is kept until the running blocks have ended."""
        index = self.indices.pop(str(future.key))
        try:
            finished: Finished = future.result()
        except (CancelledError, CommClosedError) as error:  # the latter if it had finished but was not fetched
            raise TilerError("the dask scheduler was lost, or the run was cancelled there; finished blocks stay so: "
                             "the same command with `resume=True` goes on", option="scheduler") from error
        except BlockFailed as error:
            self.failure = self.failure or error
        except KilledWorker as error:
            self._blame(index, error, "every worker that had it died, most likely for lack of memory: give them more, "
                                      "or a smaller `memory`, `tile` or `block`")
        except Exception as error:
            self._blame(index, error, self._reason(error))
        else:
            return finished
        return None

    def _reason(self, error: Exception) -> str:
        """Explanation of an error outside a block: most likely a worker joined after the check of all workers."""
        try:
            check_workers(self.client)
        except TilerError as found:
            return marked_line(found)
        return marked_line(error)

    def _blame(self, index: int, error: Exception, reason: str) -> None:
        failure = BlockFailed(index, self.job.where(index), reason)
        failure.__cause__ = error
        self.failure = self.failure or failure


def check_reach(job: Job, workers: Iterable[str]) -> None:
    """Refuse a memory-mapped output file if its processes run on several machines.

    Network file systems do not merge such writes.

    Raises
    ------
    PlanError
        If so; the message names the hosts.
    """
    hosts = sorted({urlsplit(address).hostname or address for address in workers})
    while hasattr(job, "work"):  # a job around another one
        job = job.work
    sink = getattr(job, "sink", None)
    if isinstance(sink, MappedSink) and len(hosts) > 1:
        raise PlanError(f"{sink.name} is written through a memory map, which works on one machine; the workers are on "
                        f"{', '.join(hosts)}: write .zarr", option="output")


def _itself(job: Job) -> Job:
    return job


def run_block(job: Job, index: int, driver: Versions) -> Finished:
    """All steps of a block. Runs in a worker: other threads read and write while as many compute as there are
    feeders."""
    check_here(driver)
    window = read(job, index)
    with computing(job):
        result = compute(job, window)
    return write(job, result)
