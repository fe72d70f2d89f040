"""The step that is going on, while a command has nothing to show yet: reading, loading torch, checking the network.

It is a line of a terminal, which is removed again. Elsewhere stderr holds warnings, errors and progress of blocks, one
line each; there the steps are lines of the log, with --verbose or --log-file.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tiler.activity import watched_by
from tiler.cli.logs import printable, wiping

SOON = 0.4
"""Seconds until the step is shown."""

TICK = 0.25
WIPED = "\r\x1b[2K"


class Waiting:
    """A line about the step that is going on, redrawn in a terminal: a `tiler.activity.Watcher`.

    Parameters
    ----------
    stream
        The terminal.
    step
        The step until another one is announced.
    """

    def __init__(self, stream: Any, step: str = "starting") -> None:
        self.stream, self.step = stream, step
        self.begun = time.monotonic()
        self._over, self._lock, self._drawn = threading.Event(), threading.Lock(), False
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Waiting:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self.wipe()

    def doing(self, step: str) -> None:
        self.step = step

    def expecting(self, tiles: int | None) -> None:
        """A stage begins, which has a progress of its own."""
        self._over.set()
        self.wipe()

    def computed(self, tiles: int, of: int) -> None: ...

    def wipe(self) -> None:
        """Remove the line, so that another one can be printed."""
        with self._lock:
            if self._drawn:
                self._drawn = False
                self._write(WIPED)

    def _watch(self) -> None:
        if self._over.wait(SOON):
            return
        self._draw()
        while not self._over.wait(TICK):
            self._draw()

    def _draw(self) -> None:
        seconds = f" ({time.monotonic() - self.begun:.0f} s)"
        room = shutil.get_terminal_size().columns - len(seconds) - 1
        with self._lock:
            if not self._over.is_set():
                self._drawn = True
                self._write(WIPED + printable(self.step).replace("\n", " ")[:room] + seconds)

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):  # its reader has gone
            self._over.set()


@contextmanager
def waiting(quiet: bool = False, step: str = "starting") -> Iterator[None]:
    """Show the step that is going on until the end of the block, unless it is over at once."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    with Waiting(sys.stderr, step) as line, wiping(line.wipe), watched_by(line):
        yield
