"""Learning curves: a CSV that a spreadsheet opens, and a picture (SVG) of it."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from tiler.models.training.checkpoint import write_whole
from tiler.models.training.validation import CHOSEN_BY, SCORES

COLUMNS = ("step", "seconds", "learning_rate", "loss", *SCORES)
Row = Mapping[str, Any]
Points = list[tuple[float, float]]

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 900, 220, 70, 260, 20, 30
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
STYLE = ("text{font:12px sans-serif;fill:#333}.grid{stroke:#ddd}.frame{fill:none;stroke:#999}"
         "path{fill:none;stroke-width:1.5}path.chosen{stroke-width:3}")


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write one line per row; missing values stay empty.

    Raises
    ------
    SinkError
        If it cannot be written.
    """

    def write(new: Path) -> None:
        with new.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write, "learning curves")


def write_svg(rows: Sequence[Row], path: Path) -> None:
    """Draw the loss, and below it the validation scores, over the steps.

    Scores that should be high are drawn as ``1 - score``, so that all curves fall and share one axis.

    Raises
    ------
    SinkError
        If it cannot be written.
    """
    errors = {("1 - " if _rises(name) else "") + name: _points(rows, name) for name in SCORES}
    panels = [{"training loss": _points(rows, "loss")}, {name: line for name, line in errors.items() if line}]
    text = "\n".join(_picture([panel for panel in panels if any(panel.values())], rows[-1]["step"] if rows else 1))
    write_whole(path, lambda new: new.write_text(text, encoding="utf-8"), "learning curves")


def _rises(name: str) -> bool:
    return name.startswith("v_")


def _points(rows: Sequence[Row], name: str) -> Points:
    """Step and value of every row with a positive value, because the axis is logarithmic."""
    found = [(row["step"], 1 - row[name] if _rises(name) else row[name]) for row in rows if row.get(name) is not None]
    return [(step, value) for step, value in found if value > 0 and math.isfinite(value)]


@dataclass(frozen=True, slots=True)
class Axes:
    """One panel: steps from left to right, a logarithmic axis upwards.

    Parameters
    ----------
    top
        Pixels from the upper edge of the picture.
    steps
        At the right edge.
    low, high
        Values at the lower and upper edge.
    """

    top: float
    steps: float
    low: float
    high: float

    def x(self, step: float) -> float:
        return LEFT + step / self.steps * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return self.top + PANEL * math.log(self.high / value) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        """1, 2 and 5 times powers of ten."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        return [tick for power in powers for tick in (10.0**power, 2 * 10.0**power, 5 * 10.0**power)
                if self.low <= tick <= self.high]


def _picture(panels: Sequence[Mapping[str, Points]], steps: float) -> Iterator[str]:
    height = TOP + len(panels) * (PANEL + GAP) + GAP
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
           f'height="{height}"><style>{STYLE}</style><rect width="100%" height="100%" fill="white"/>')
    for number, panel in enumerate(panels):
        values = [value for line in panel.values() for _, value in line]
        yield from _panel(panel, Axes(TOP + number * (PANEL + GAP), steps, min(values) / 1.1, max(values) * 1.1))
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{height - 8}" text-anchor="middle">step</text></svg>'


def _panel(panel: Mapping[str, Points], axes: Axes) -> Iterator[str]:
    bottom = axes.top + PANEL
    yield f'<rect class="frame" x="{LEFT}" y="{axes.top}" width="{WIDTH - LEFT - RIGHT}" height="{PANEL}"/>'
    for tick in axes.ticks():
        y = axes.y(tick)
        yield (f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
               f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for step in (0, axes.steps / 2, axes.steps):
        yield f'<text x="{axes.x(step):.1f}" y="{bottom + 16}" text-anchor="middle">{step:g}</text>'
    for number, (name, line) in enumerate(panel.items()):
        colour, kind = COLOURS[number % len(COLOURS)], "chosen" if name.endswith(CHOSEN_BY) else "other"
        path = "M" + " L".join(f"{axes.x(step):.1f} {axes.y(value):.1f}" for step, value in line)
        best = min(line, key=lambda point: point[1])
        yield (f'<path class="{kind}" d="{path}" stroke="{colour}"/>'
               f'<text x="{WIDTH - RIGHT + 10}" y="{axes.top + 16 + 18 * number}" style="fill:{colour}">'
               f'{escape(name)}: {best[1]:.4g} at {best[0]:g}</text>')
