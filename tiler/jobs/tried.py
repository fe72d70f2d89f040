"""A job whose blocks are timed, tried again if they fail, and set aside if they keep failing."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from tiler.errors import ModelError, PlanError, VoxelError, marked_line
from tiler.ports import Job, Json

log = logging.getLogger(__name__)

FAILED, STOPS, SECONDS = "failed", "stops", "seconds"
"""Entries of the record of a block: the reason why it was set aside, whether that ends the run because other blocks
would fail likewise, and the seconds of its three steps."""

PAUSES = (0.05, 0.2, 2.0)
"""Seconds before the second try, the third, and all others: a file server that stumbles may need a moment."""


CERTAIN = (PlanError, ModelError, VoxelError)
"""Errors that come back however often a block is tried, and in other blocks."""

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""Numbers of the errors of a full disk."""


def is_certain(error: BaseException | None) -> bool:
    """Whether trying again would not help: the run itself is wrong, or the disk is full."""
    while error is not None:
        if isinstance(error, CERTAIN) or (isinstance(error, OSError) and error.errno in FULL):
            return True
        error = error.__cause__
    return False


class SetAside(dict[str, Any]):
    """Record of a block that failed; within its process it carries the error."""

    def __init__(self, error: Exception, tries: int) -> None:
        super().__init__({FAILED: marked_line(error), "tries": tries, STOPS: is_certain(error)})
        self.error = error

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)  # errors of other libraries cannot always be pickled


@dataclass(frozen=True, slots=True)
class Attempt:
    """Result of one or two steps of a block, and the seconds that each took; or the record of its failure."""

    value: Any
    seconds: tuple[float, ...]
    failure: SetAside | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """A `tiler.ports.Job` around another one, whose records also hold ``seconds`` of reading, computing and writing.

    A step that fails is repeated in its own thread; a result is computed again from a fresh read.

    Parameters
    ----------
    work
        The job itself.
    retries
        Number of tries after the first. A block that fails in all of them gets a record with ``failed``, the reason.
    """

    work: Job
    retries: int = 0

    @property
    def feeders(self) -> int:
        return self.work.feeders

    def where(self, index: int) -> str:
        return self.work.where(index)

    def read(self, index: int) -> Attempt:
        return self._step(index, Attempt(None, ()), lambda first: self.work.read(index))

    def compute(self, index: int, window: Attempt) -> Attempt:
        return self._step(index, window, lambda first: self.work.compute(
            index, window.value if first else self.work.read(index)))

    def write(self, index: int, result: Attempt) -> Json:
        done = self._step(index, result, lambda first: self.work.write(index, result.value))
        if done.failure is not None:
            return done.failure
        return {**done.value, SECONDS: [round(each, 4) for each in done.seconds]}

    def _step(self, index: int, before: Attempt, step: Callable[[bool], Any]) -> Attempt:
        if before.failure is not None:
            return before
        begun = time.perf_counter()
        for number in count():
            try:
                value = step(number == 0)
            except Exception as error:  # user code and libraries raise whatever they like
                log.debug("block %d, try %d", index, number + 1, exc_info=True)
                if number == self.retries or is_certain(error):
                    return Attempt(None, before.seconds, SetAside(error, number + 1))
            else:
                return Attempt(value, (*before.seconds, time.perf_counter() - begun))
            time.sleep(PAUSES[min(number, len(PAUSES) - 1)])
        raise AssertionError("endless")
