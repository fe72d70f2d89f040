"""Timeouts and retries of requests to servers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tiler.errors import StoreError

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
CONNECT = 10.0


@dataclass(frozen=True, slots=True)
class Patience:
    """With a server that fails or is slow.

    Parameters
    ----------
    retries
        Attempts after the first; each waits about twice as long as the one before, at most 10 seconds.
    timeout
        Seconds for one answer.
    """

    retries: int
    timeout: float

    @classmethod
    def chosen(cls) -> Patience:
        """Ten attempts of two minutes, or as ``TILER_STORE_RETRIES`` and ``TILER_STORE_TIMEOUT`` say; dask workers
        inherit those.

        Raises
        ------
        StoreError
            If they are no such numbers.
        """
        return cls(int(_number("TILER_STORE_RETRIES", 10, 0)), _number("TILER_STORE_TIMEOUT", 120, 0.1))

    def pause(self, attempt: int) -> float:
        """Seconds before the next attempt, counted from 0."""
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**attempt)

    @property
    def options(self) -> dict[str, Any]:
        """For the stores of obstore."""
        whole = sum(self.pause(attempt) + self.timeout for attempt in range(self.retries + 1))
        return {
            "client_options": {"timeout": timedelta(seconds=self.timeout), "allow_http": True,
                               "connect_timeout": timedelta(seconds=min(CONNECT, self.timeout))},
            "retry_config": {"max_retries": self.retries, "retry_timeout": timedelta(seconds=whole),
                             "backoff": {"init_backoff": timedelta(seconds=FIRST_PAUSE), "base": 2,
                                         "max_backoff": timedelta(seconds=LONGEST_PAUSE)}},
        }


def _number(name: str, default: float, least: float) -> float:
    text = os.environ.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value < 1e6:
        raise StoreError(f"{name} is a number of at least {least}; got {text!r}")
    return value
