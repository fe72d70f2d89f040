"""Progress bars in a terminal or a notebook. `rich` is imported when a bar is shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tiler.activity import watched_by
from tiler.errors import PlanError, spelled_for_python
from tiler.ports import Listener
from tiler.running.perform import Silent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

NOTHING_TO_DO = "nothing to do: this output was finished before"


@contextmanager
def heard_by(listener: Listener | None, progress: bool) -> Iterator[Listener]:
    """The listener of a run: the given one, bars, or one that only logs warnings.

    Raises
    ------
    PlanError
        If both a listener and bars were requested.
    """
    if progress and listener is not None:
        raise PlanError("a listener hears of progress itself: give `listener` or `progress`, not both")
    if not progress:
        yield listener or Silent()
        return
    with showing(console_of()) as shown, watched_by(bars := Bars(shown)):
        yield bars


def console_of() -> Console:
    """Console for the bars: stderr, or the notebook's cell."""
    from rich.console import Console

    return Console(stderr=True)


def showing(console: Console, measure: Any = None) -> Progress:
    """Bars with a count, a measure (by default voxels per second) and the time left, removed at the end."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"),
                    measure or TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=console,
                    transient=not console.is_jupyter)


def spoken(number: float) -> str:
    """A number in the largest unit that gives a number above one: ``1.5 M``."""
    for power, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.1f} {prefix}"
    return f"{number:.0f} "


@dataclass
class Progressed:
    """How far a stage is, in tiles where the network runs tile by tile, else in blocks.

    Tiles of blocks that are not finished count, so that a run of one block moves; a block that is computed elsewhere,
    in another process, counts when it is finished.
    """

    blocks: int = 0
    finished: int = 0
    tiles: int | None = None
    under_way: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self, blocks: int, finished: int) -> None:
        self.blocks, self.finished, self.under_way = blocks, finished, 0.0

    def compute(self, tiles: int, of: int) -> None:
        with self._lock:
            self.under_way += tiles / of

    def finish(self) -> None:
        with self._lock:
            self.finished, self.under_way = self.finished + 1, max(0.0, self.under_way - 1)

    @property
    def total(self) -> int:
        return self.tiles if self.tiles and self.blocks else self.blocks

    @property
    def done(self) -> int:
        """Finished tiles or blocks; never more than there are."""
        share = min(self.blocks, self.finished + self.under_way) / max(self.blocks, 1)
        return int(share * self.total + 1e-6)

    def __str__(self) -> str:
        return f"{self.done}/{self.total} {'tiles' if self.tiles else 'blocks'}"


@dataclass
class Bars:
    """A `tiler.ports.Listener` and `tiler.activity.Watcher` that shows one bar a stage, with rate and time left.

    Until the first stage begins, it shows which slow step is going on.
    """

    progress: Progress
    bar: Any = None
    name: str = ""
    voxels: int = 0
    progressed: Progressed = field(default_factory=Progressed)

    def doing(self, step: str) -> None:
        if self.bar is None:
            self.bar = self.progress.add_task(step, total=None, rate="", count="")
        elif not self.name:
            self.progress.update(self.bar, description=step)

    def stage(self, name: str) -> None:
        self.name, self.progressed.tiles = name, None
        if name == "finished":
            self.progress.console.print(NOTHING_TO_DO, highlight=False)

    def expecting(self, tiles: int | None) -> None:
        self.progressed.tiles = tiles

    def started(self, total: int, done: int) -> None:
        if self.bar is not None:
            self.progress.remove_task(self.bar)
        self.voxels = 0
        self.progressed.begin(total, done)
        self.bar = self.progress.add_task(self.name, total=self.progressed.total, completed=self.progressed.done,
                                          rate="", count=str(self.progressed))

    def computed(self, tiles: int, of: int) -> None:
        self.progressed.compute(tiles, of)
        if self.bar is not None:
            self.progress.update(self.bar, completed=self.progressed.done, count=str(self.progressed))

    def finished_block(self, index: int, voxels: int) -> None:
        self.voxels += voxels
        self.progressed.finish()
        elapsed = next(task.elapsed for task in self.progress.tasks if task.id == self.bar) or 0.0
        rate = f"{spoken(self.voxels / max(elapsed, 1e-9))}voxels/s"
        self.progress.update(self.bar, completed=self.progressed.done, count=str(self.progressed), rate=rate)

    def times(self, read: float, compute: float, write: float) -> None:
        """Nothing to do: the bar shows the rate."""

    def note(self, message: str) -> None:
        self.progress.console.print(spelled_for_python(message), highlight=False)

    def warn(self, message: str) -> None:
        self.progress.console.print(f"warning: {spelled_for_python(message)}", style="yellow", highlight=False)
