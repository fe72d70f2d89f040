"""The end of a batch: what became of each input, as a table, and which inputs failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiler.cli.batch import Pair
from tiler.cli.logs import spelled, tell
from tiler.errors import Interrupted, TilerError


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of an input among all."""

    number: int
    total: int

    def named(self, pair: Pair) -> str:
        """``2 of 5, b.tif``; "" for a single input."""
        return "" if self.total == 1 else f"{self.number} of {self.total}, {Path(pair.source).name}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one input.

    Parameters
    ----------
    pair
        The input and its output.
    error
        Why it failed; None if it did not.
    seconds
        Time that it took.
    objects
        Number of objects in the output; None if it has none.
    finished
        Whether the output is; False after a part of it.
    """

    pair: Pair
    error: TilerError | None
    seconds: float = 0.0
    objects: int | None = None
    finished: bool = True

    def to_json(self) -> dict[str, Any]:
        files = {**self.pair.files, "finished": None} if self.finished else {"finished": False}
        found = {"source": self.pair.source, "output": str(self.pair.output), "seconds": round(self.seconds, 3),
                 "objects": self.objects, **files}
        return {name: value for name, value in found.items() if value is not None}

    def row(self) -> list[str]:
        """Input, objects, seconds and output, as text."""
        if self.error is not None:
            return [self.pair.source, "-", "-", "failed"]
        return [self.pair.source, "-" if self.objects is None else str(self.objects), f"{self.seconds:.1f}",
                str(self.pair.output)]


def conclude(outcomes: Sequence[Outcome], quiet: bool) -> int:
    """Show a table of a batch and say which inputs failed; the exit code says whether any did."""
    if len(outcomes) > 1 and not quiet:
        for line in table_of(outcomes):
            tell(line)
    failed = [(outcome.pair, outcome.error) for outcome in outcomes if outcome.error is not None]
    if not failed:
        return 0
    tell(f"tiler: {len(failed)} of {len(outcomes)} inputs failed:")
    for pair, error in failed:
        tell(f"  {pair.source}: {spelled(error)}")
    return 130 if any(isinstance(error, Interrupted) for _, error in failed) else 1


def table_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines of equal columns, numbers to the right; no column of objects if no output has any."""
    rows = [["input", "objects", "seconds", "output"], *(outcome.row() for outcome in outcomes)]
    if all(outcome.objects is None for outcome in outcomes):
        rows = [[row[0], *row[2:]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) if place in range(1, len(row) - 1) else cell.ljust(width)
                 for place, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines
