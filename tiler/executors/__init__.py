"""Executors by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from tiler.errors import PlanError
from tiler.executors.serial import Serial
from tiler.executors.threads import Threads
from tiler.options import ExecutorName
from tiler.ports import Executor


def open_executor(name: ExecutorName | Executor, workers: int, scheduler: str | None = None) -> Executor:
    """Return the executor of a name; an executor object is returned unchanged.

    Parameters
    ----------
    name
        "threads", "serial", "dask", or an executor.
    workers
        Number of threads that read and of threads that write; number of processes for "dask".
    scheduler
        Address of an existing dask cluster; None starts processes on this machine.

    Raises
    ------
    PlanError
        If a required package is not installed.
    """
    if not isinstance(name, str):
        return name
    if name == "serial":
        return Serial()
    return Threads(workers) if name == "threads" else _open_dask(workers, scheduler)


def _open_dask(workers: int, scheduler: str | None) -> Executor:
    """Dask is imported here and nowhere else."""
    try:
        from tiler.executors.dask import Dask
    except ModuleNotFoundError as error:
        raise PlanError(f"`executor=dask` needs the package {error.name}: pip install 'em-tiler[dask]'") from error
    return Dask(workers, scheduler)


@contextmanager
def kept(executor: Executor, feeders: int | None) -> Iterator[Executor]:
    """The executor for several jobs one after the other; what it starts for a job is started once for all of them.

    Parameters
    ----------
    executor
        The executor of a run.
    feeders
        Number of threads that may compute at the same time in a process; None starts everything for each job.
    """
    keep = None if feeders is None else getattr(executor, "kept", None)
    with nullcontext(executor) if keep is None else keep(feeders) as lasting:
        yield lasting
