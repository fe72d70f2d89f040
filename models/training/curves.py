"""Learning curves: a CSV that a spreadsheet opens, and a picture of it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiler.models.training.checkpoint import write_whole
from tiler.models.training.validation import CHOSEN_BY, SCORES

COLUMNS = ("step", "seconds", "learning_rate", "loss", *SCORES)
Row = Mapping[str, Any]
MARGINS = {"left": 0.1, "right": 0.72, "bottom": 0.09, "top": 0.97, "hspace": 0.08}
"""Fixed, with room for the legend: to find them, matplotlib would draw everything twice."""


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line a row; what a row does not have stays empty.

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


def write_png(rows: Sequence[Row], path: Path) -> bool:
    """Draw loss and validation scores over the steps; False where matplotlib is not installed.

    Raises
    ------
    SinkError
        If it cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(10, 6))
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw=MARGINS)
    above.plot(*_points(rows, "loss"), color="tab:blue", linewidth=1)
    above.set_yscale("log")
    above.set_ylabel("training loss")
    _draw_scores(below, rows)
    below.set_xlabel("step")
    write_whole(path, lambda new: figure.savefig(new, format="png", dpi=120), "learning curves")
    return True


def _draw_scores(axes: Any, rows: Sequence[Row]) -> None:
    """Each score as an error, lower being better, so that they share one axis."""
    for name in SCORES:
        steps, values = _points(rows, name)
        if steps:
            rising = name.startswith("v_")
            label = f"1 - {name}" if rising else name
            errors = [1 - value if rising else value for value in values]
            axes.plot(steps, errors, marker=".", linewidth=2 if name == CHOSEN_BY else 1, label=label)
    if axes.lines:
        axes.set_yscale("log")
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_ylabel("validation error")


def _points(rows: Sequence[Row], name: str) -> tuple[list[int], list[float]]:
    found = [row for row in rows if row.get(name) is not None]
    return [row["step"] for row in found], [row[name] for row in found]
