"""Progress and signals of a running command."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import ProgressColumn

from tiler.activity import watched_by
from tiler.cli.logs import printable, spelled_text, tell
from tiler.ports import Listener
from tiler.running.bars import NOTHING_TO_DO, Bars, Progressed, showing, spoken

SILENCE = 5.0
"""Seconds between two plain lines of progress."""


class SpelledBars(Bars):
    """Progress bars whose warnings spell options as on the command line."""

    def warn(self, message: str) -> None:
        super().warn(spelled_text(message))


@dataclass
class Lines:
    """A listener for output that is not a terminal: it prints a line from time to time."""

    name: str = ""
    total: int = 0
    done: int = 0
    voxels: int = 0
    begun: float = 0.0
    spoken_at: float = 0.0
    progressed: Progressed = field(default_factory=Progressed)

    def stage(self, name: str) -> None:
        self.name, self.progressed.tiles = name, None
        if name == "finished":
            tell(NOTHING_TO_DO)

    def doing(self, step: str) -> None: ...

    def expecting(self, tiles: int | None) -> None:
        self.progressed.tiles = tiles

    def computed(self, tiles: int, of: int) -> None:
        """Say how far a long block is."""
        self.progressed.compute(tiles, of)
        if time.monotonic() - self.spoken_at >= SILENCE:
            self.spoken_at = time.monotonic()
            tell(f"{self.name}: {self.progressed.done} of {self.progressed.total} tiles")

    def started(self, total: int, done: int) -> None:
        self.total, self.done, self.voxels = total, done, 0
        self.progressed.begin(total, done)
        self.begun = self.spoken_at = time.monotonic()
        if done:
            tell(f"{self.name}: {done} of {total} blocks were finished before")

    def finished_block(self, index: int, voxels: int) -> None:
        self.done, self.voxels = self.done + 1, self.voxels + voxels
        self.progressed.finish()
        now = time.monotonic()
        if self.done == self.total or now - self.spoken_at >= SILENCE:
            self.spoken_at = now
            rate = spoken(self.voxels / max(now - self.begun, 1e-9))
            tell(f"{self.name}: {self.done} of {self.total} blocks, {rate}voxels/s")

    def warn(self, message: str) -> None:
        tell(f"warning: {spelled_text(message)}")


class Quiet:
    """A listener that passes on warnings only."""

    def stage(self, name: str) -> None: ...
    def started(self, total: int, done: int) -> None: ...
    def finished_block(self, index: int, voxels: int) -> None: ...
    def warn(self, message: str) -> None:
        tell(f"warning: {spelled_text(message)}")


@dataclass
class Named:
    """A listener that hears the name of the input before that of each stage.

    Parameters
    ----------
    listener
        Shows progress.
    name
        Such as ``2 of 5, b.tif``.
    """

    listener: Listener
    name: str

    def stage(self, name: str) -> None:
        self.listener.stage(name if name == "finished" else f"{self.name}: {name}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.listener, name)


@contextmanager
def listening(quiet: bool, name: str = "") -> Iterator[Any]:
    """The listener that suits stderr: bars in a terminal, else lines; with the name of an input of several."""
    with fitting(quiet, (Quiet, Lines, SpelledBars)) as listener:
        yield Named(listener, printable(name)) if name else listener


@contextmanager
def fitting(quiet: bool, kinds: tuple[Any, Any, Any], measure: ProgressColumn | None = None) -> Iterator[Any]:
    """A listener that is silent, prints lines or shows bars with a measure. rich honours NO_COLOR by itself."""
    silent, lines, bars = kinds
    console = Console(stderr=True)
    if quiet:
        yield silent()
    elif not console.is_terminal:
        with watched_by(listener := lines()):
            yield listener
    else:
        with showing(console, measure) as progress, watched_by(listener := bars(progress)):
            yield listener


@contextmanager
def stoppable(stop: threading.Event, at: str = "block border") -> Iterator[None]:
    """Ctrl-C and SIGTERM set ``stop``, which takes effect ``at`` the next such place; a second one aborts at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        tell(f"stopping at the next {at}; once more aborts at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
