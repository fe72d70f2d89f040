"""Executors by name."""

from __future__ import annotations

from tiler.errors import PlanError
from tiler.executors.serial import Serial
from tiler.executors.threads import Threads
from tiler.ports import Executor

NAMES = ("threads", "serial")


def open_executor(name: str, workers: int) -> Executor:
    """The executor of that name.

    Raises
    ------
    PlanError
        If there is none.
    """
    if name == "serial":
        return Serial()
    if name == "threads":
        return Threads(workers)
    raise PlanError(f"unknown executor {name!r}: choose one of {', '.join(NAMES)} (--executor)")
