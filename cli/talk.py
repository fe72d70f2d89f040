"""Progress and signals of a running command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import ProgressColumn

from tiler.activity import watched_by
from tiler.cli.logs import printable, spelled_text, tell
from tiler.cli.progress import All, JsonLines, Lines, MinuteLog
from tiler.ports import Listener
from tiler.running.bars import Bars, showing


class SpelledBars(Bars):
    """Progress bars whose warnings spell options as on the command line."""

    def warn(self, message: str) -> None:
        super().warn(spelled_text(message))

    def note(self, message: str) -> None:
        super().note(spelled_text(message))


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
def listening(quiet: bool, name: str = "", progress: str = "auto") -> Iterator[Any]:
    """The listener that suits stderr: bars in a terminal, else lines; or what the user asked for.

    Parameters
    ----------
    quiet
        Pass on warnings only.
    name
        Name of an input of several.
    progress
        "auto", "lines", or "json" for one object a line.
    """
    with _chosen(quiet, progress) as listener:
        yield Named(listener, printable(name)) if name else listener


@contextmanager
def _chosen(quiet: bool, progress: str) -> Iterator[Any]:
    if progress == "auto" or (quiet and progress != "json"):
        with fitting(quiet, (Quiet, Lines, SpelledBars)) as listener:
            yield listener
    else:
        with watched_by(listener := JsonLines() if progress == "json" else Lines()):
            yield listener


@contextmanager
def heard_and_logged(quiet: bool, progress: str, name: str) -> Iterator[Listener]:
    """A listener for stderr and one for the log, which tell at the end what the run took."""
    logged = MinuteLog()
    with listening(quiet, name, progress) as shown:
        yield All((shown, logged))
    logged.ended()
    if progress == "json":
        shown.ended()
    elif not quiet and any(logged.steps):
        tell(f"done in {logged.summary()}")


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
