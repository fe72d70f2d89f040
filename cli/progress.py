"""Listeners that count: lines on stderr, JSON lines for programs, and one line a minute for the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tiler.cli.logs import spelled_text, tell, tell_event
from tiler.machine import peak_memory
from tiler.planning.summary import duration
from tiler.ports import Listener, TimedListener
from tiler.running.bars import NOTHING_TO_DO, Progressed, spoken

SILENCE, MINUTE, SECOND = 5.0, 60.0, 1.0
"""Seconds between two lines of progress: on stderr, in the log, and for programs."""

log = logging.getLogger("tiler.cli")


@dataclass
class Tally:
    """A `tiler.ports.TimedListener` that counts blocks, voxels and seconds, and speaks from time to time.

    Parameters
    ----------
    clock
        Seconds; for tests.
    """

    clock: Callable[[], float] = time.monotonic
    name: str = ""
    total: int = 0
    done: int = 0
    blocks: int = 0
    voxels: int = 0
    begun: float = 0.0
    spoken_at: float = 0.0
    progressed: Progressed = field(default_factory=Progressed)
    born: float = field(default=0.0, init=False)
    steps: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0], init=False)
    every = SILENCE

    def __post_init__(self) -> None:
        self.born = self.clock()

    def doing(self, step: str) -> None: ...

    def expecting(self, tiles: int | None) -> None:
        self.progressed.tiles = tiles

    def computed(self, tiles: int, of: int) -> None:
        """Say how far a long block is."""
        self.progressed.compute(tiles, of)
        if self.clock() - self.spoken_at >= self.every:
            self.spoken_at = self.clock()
            self.say_tiles()

    def stage(self, name: str) -> None:
        self.name, self.progressed.tiles = name, None
        if name == "finished":
            self.say_nothing_to_do()

    def started(self, total: int, done: int) -> None:
        self.total, self.done, self.blocks, self.voxels = total, done, 0, 0
        self.progressed.begin(total, done)
        self.begun = self.spoken_at = self.clock()
        self.say_begun()

    def times(self, read: float, compute: float, write: float) -> None:
        self.steps = [a + b for a, b in zip(self.steps, (read, compute, write), strict=True)]

    def finished_block(self, index: int, voxels: int) -> None:
        self.done, self.blocks, self.voxels = self.done + 1, self.blocks + 1, self.voxels + voxels
        self.progressed.finish()
        now = self.clock()
        if self.speaks_at_the_end(now) or now - self.spoken_at >= self.every:
            self.spoken_at = now
            self.say_progress()

    def speaks_at_the_end(self, now: float) -> bool:
        """Whether the last block of a stage gets a line, however short the stage was."""
        return self.done == self.total

    def ended(self) -> None:
        """The run is over."""

    @property
    def rate(self) -> float:
        """Voxels a second in this stage."""
        return self.voxels / max(self.clock() - self.begun, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds until the end of the stage; None if that is unknown."""
        elapsed = self.clock() - self.begun
        return (self.total - self.done) * elapsed / self.blocks if self.blocks else None

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self.born

    def summary(self) -> str:
        """Seconds and memory of the run, which show what limits it."""
        read, compute, write = self.steps
        most = max((read, "reading"), (compute, "the network"), (write, "writing"))[1]
        limits = f", most of it {most}" if any(self.steps) else ""
        return (f"{self.seconds:.1f} s; in all threads {read:.1f} s to read, {compute:.1f} s to compute, {write:.1f} s "
                f"to write{limits}")

    def say_nothing_to_do(self) -> None: ...
    def say_begun(self) -> None: ...
    def say_progress(self) -> None: ...
    def say_tiles(self) -> None: ...
    def warn(self, message: str) -> None: ...
    def note(self, message: str) -> None: ...


@dataclass
class Lines(Tally):
    """Prints a line from time to time, for output that is not a terminal."""

    def say_nothing_to_do(self) -> None:
        tell(NOTHING_TO_DO)

    def say_begun(self) -> None:
        if self.done:
            tell(f"{self.name}: {self.done} of {self.total} blocks were finished before")

    def say_tiles(self) -> None:
        tell(f"{self.name}: {self.progressed.done} of {self.progressed.total} tiles")

    def say_progress(self) -> None:
        tell(f"{self.name}: {self.done} of {self.total} blocks, {spoken(self.rate)}voxels/s")

    def warn(self, message: str) -> None:
        tell(f"warning: {spelled_text(message)}")

    def note(self, message: str) -> None:
        tell(spelled_text(message))


@dataclass
class JsonLines(Tally):
    """Prints a JSON object a line, at most one a second beside those that begin and end something."""

    every = SECOND

    def say_nothing_to_do(self) -> None:
        self._say("finished before")

    def say_begun(self) -> None:
        self._say("stage", stage=self.name, total=self.total, done=self.done)

    def say_progress(self) -> None:
        left = self.left
        self._say("progress", stage=self.name, total=self.total, done=self.done,
                  voxels_per_second=round(self.rate, 1), seconds_left=None if left is None else round(left, 1),
                  **self._costs())

    def warn(self, message: str) -> None:
        self._say("warning", text=spelled_text(message))

    def note(self, message: str) -> None:
        self._say("note", text=spelled_text(message))

    def ended(self) -> None:
        self._say("end", seconds=round(self.seconds, 3), **self._costs())

    def _costs(self) -> dict[str, Any]:
        read, compute, write = (round(each, 3) for each in self.steps)
        return {"read": read, "compute": compute, "write": write, "peak_bytes": peak_memory()}

    def _say(self, event: str, **content: Any) -> None:
        tell_event(event, **content)


@dataclass
class MinuteLog(Tally):
    """Logs one line a minute, and one where a stage begins."""

    every = MINUTE

    def speaks_at_the_end(self, now: float) -> bool:
        return False

    def say_nothing_to_do(self) -> None:
        log.info("%s", NOTHING_TO_DO)

    def say_begun(self) -> None:
        before = f", {self.done} were finished before" if self.done else ""
        log.info("%s: %d blocks%s", self.name, self.total, before)

    def say_progress(self) -> None:
        left = self.left
        log.info("%s: %d of %d blocks, %svoxels/s, %s left, peak memory %.1f GB", self.name, self.done, self.total,
                 spoken(self.rate), "?" if left is None else duration(left), peak_memory() / 1e9)

    def warn(self, message: str) -> None:
        log.warning("%s", spelled_text(message))

    def note(self, message: str) -> None:
        log.info("%s", spelled_text(message))

    def ended(self) -> None:
        log.info("done in %s, peak memory %.1f GB", self.summary(), peak_memory() / 1e9)


@dataclass(frozen=True, slots=True)
class All:
    """Several listeners as one."""

    listeners: tuple[Listener, ...]

    def started(self, total: int, done: int) -> None:
        for each in self.listeners:
            each.started(total, done)

    def finished_block(self, index: int, voxels: int) -> None:
        for each in self.listeners:
            each.finished_block(index, voxels)

    def stage(self, name: str) -> None:
        for each in self.listeners:
            each.stage(name)

    def warn(self, message: str) -> None:
        for each in self.listeners:
            each.warn(message)

    def times(self, read: float, compute: float, write: float) -> None:
        for each in self.listeners:
            if isinstance(each, TimedListener):
                each.times(read, compute, write)

    def note(self, message: str) -> None:
        for each in self.listeners:
            (each.note if isinstance(each, TimedListener) else each.warn)(message)
