"""Executors by name."""

from __future__ import annotations

from tiler.errors import PlanError
from tiler.executors.serial import Serial
from tiler.executors.threads import Threads
from tiler.ports import Executor

NAMES = ("threads", "serial", "dask")


def open_executor(name: str, workers: int, scheduler: str | None = None) -> Executor:
    """The executor of that name.

    Parameters
    ----------
    name
        One of `NAMES`.
    workers
        Threads that read and that write; processes of "dask".
    scheduler
        Address of the dask cluster to use instead of processes of its own.

    Raises
    ------
    PlanError
        If there is none, or what it needs is not installed.
    """
    if scheduler is not None and name != "dask":
        raise PlanError(f"the scheduler {scheduler} is one of dask's, the executor is {name}: use --executor dask, "
                        "or leave out --scheduler")
    if name == "serial":
        return Serial()
    if name == "threads":
        return Threads(workers)
    if name == "dask":
        return _open_dask(workers, scheduler)
    raise PlanError(f"unknown executor {name!r}: choose one of {', '.join(NAMES)} (--executor)")


def _open_dask(workers: int, scheduler: str | None) -> Executor:
    """Dask is imported here and nowhere else."""
    try:
        from tiler.executors.dask import Dask
    except ModuleNotFoundError as error:
        raise PlanError(f"--executor dask needs the package {error.name}: pip install 'em-tiler[dask]'") from error
    return Dask(workers, scheduler)
