"""Start or find clusters of `dask.distributed`, and check them before they receive blocks."""

from __future__ import annotations

import logging
import platform
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster, WorkerPlugin

from tiler.errors import PlanError
from tiler.version import __version__

log = logging.getLogger(__name__)

TIMEOUT = 15.0
"""Seconds within which a scheduler must answer and have a worker."""

Versions = dict[str, str | None]


@contextmanager
def connected(workers: int, threads: int, scheduler: str | None) -> Iterator[Client]:
    """Connect to the cluster at an address, or start one with this number of processes and of threads in each.

    One thread of a process reads or writes while the others compute.

    Raises
    ------
    PlanError
        If there is no such cluster, or its workers have no tiler or another version of it.
    """
    with (_local(workers, threads) if scheduler is None else _remote(scheduler)) as client:
        check_workers(client)
        log.info("dask: %d workers, dashboard at %s", len(client.nthreads()), client.dashboard_link)
        yield client


@contextmanager
def _local(workers: int, threads: int) -> Iterator[Client]:
    """Processes without a memory limit by dask, because the plan has predicted their memory."""
    try:
        # Certificates for this run only: without them, any user of the machine could run code in the workers.
        cluster = LocalCluster(n_workers=workers, threads_per_worker=threads, processes=True, memory_limit=0,
                               dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL, security=True)
    except ImportError as error:
        raise PlanError(f"workers of this machine talk by TLS, for which the package {error.name or 'cryptography'} is "
                        "needed: pip install 'em-tiler[dask]'") from error
    except (TimeoutError, RuntimeError, OSError) as error:
        raise PlanError(f"{workers} dask workers could not be started ({_line(error)}): a script needs "
                        'if __name__ == "__main__" around what it runs', option="workers") from error
    with cluster, Client(cluster, set_as_default=False) as client:
        client.register_plugin(_Deaf())
        yield client


@contextmanager
def _remote(scheduler: str) -> Iterator[Client]:
    where = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        client = Client(**where, timeout=TIMEOUT, set_as_default=False)
    except (TimeoutError, OSError, ValueError) as error:
        raise PlanError(f"no dask scheduler answers at {scheduler} ({_line(error)}): start one with `dask scheduler`, "
                        "or leave out `scheduler` to use processes of this machine") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError as error:
            raise PlanError(f"the dask scheduler at {scheduler} has no workers: start some with "
                            f"`dask worker {scheduler}`", option="scheduler") from error
        yield client


class _Deaf(WorkerPlugin):
    """Ignores Ctrl-C, which the terminal sends to workers too: the driver decides what happens."""

    def setup(self, worker: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def check_workers(client: Client) -> None:
    """Refuse workers whose results could differ from those computed here.

    Raises
    ------
    PlanError
        If a worker has no tiler, or other versions of the packages that compute.
    """
    report = _reporter()
    own = report()
    for address, found in client.run(report).items():
        if found["tiler"] is None:
            raise PlanError(f"the dask worker at {address} has no tiler: install em-tiler {__version__} there")
        _compare(found, own, f"the dask worker at {address}", "here it is")


def check_here(driver: Versions) -> None:
    """Check a worker from inside: workers may join while blocks are computed."""
    _compare(versions(), driver, f"the dask worker on {platform.node()}", "where the run was started it is")


@cache
def versions() -> Versions:
    """Versions of all packages that compute in this process."""
    return _reporter()()


def _compare(there: Versions, here: Versions, who: str, how: str) -> None:
    for name, version in there.items():
        if version != here[name]:
            raise PlanError(f"{who} has {name} {version}, {how} {here[name]}: results could differ, install the same "
                            "versions", option="scheduler")


def _reporter() -> Callable[[], Versions]:
    """A function that is pickled by value, so that a worker without the package can answer, too."""

    def report() -> Versions:
        import sys
        from importlib import import_module, metadata

        def found(get: Callable[[], str]) -> str | None:
            try:
                return get()
            except ImportError:
                return None

        return {
            "tiler": found(lambda: import_module("tiler.version").__version__),
            "torch": found(lambda: metadata.version("torch")),
            "python": "{}.{}".format(*sys.version_info),
        }

    return report


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
