"""Progress bars in a terminal or a notebook. `rich` is imported when a bar is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    with showing(console_of()) as shown:
        yield Bars(shown)


def console_of() -> Console:
    """Console for the bars: stderr, or the notebook's cell."""
    from rich.console import Console

    return Console(stderr=True)


def showing(console: Console, measure: Any = None) -> Progress:
    """Bars with a count, a measure (by default voxels per second) and the time left, removed at the end."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
                    measure or TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=console,
                    transient=not console.is_jupyter)


def spoken(number: float) -> str:
    """A number in the largest unit that gives a number above one: ``1.5 M``."""
    for power, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.1f} {prefix}"
    return f"{number:.0f} "


@dataclass
class Bars:
    """A `tiler.ports.Listener` that shows one bar a stage, with rate and time left."""

    progress: Progress
    bar: Any = None
    name: str = ""
    voxels: int = 0

    def stage(self, name: str) -> None:
        self.name = name
        if name == "finished":
            self.progress.console.print(NOTHING_TO_DO, highlight=False)

    def started(self, total: int, done: int) -> None:
        if self.bar is not None:
            self.progress.remove_task(self.bar)
        self.voxels = 0
        self.bar = self.progress.add_task(self.name, total=total, completed=done, rate="")

    def finished_block(self, index: int, voxels: int) -> None:
        self.voxels += voxels
        elapsed = next(task.elapsed for task in self.progress.tasks if task.id == self.bar) or 0.0
        rate = f"{spoken(self.voxels / max(elapsed, 1e-9))}voxels/s"
        self.progress.update(self.bar, advance=1, rate=rate)

    def warn(self, message: str) -> None:
        self.progress.console.print(f"warning: {spelled_for_python(message)}", style="yellow", highlight=False)
