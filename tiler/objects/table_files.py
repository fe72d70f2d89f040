"""Tables of objects as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tiler.errors import SinkError
from tiler.objects.columns import Columns
from tiler.ports import Array
from tiler.stores.durable import replacing

ROWS = 1 << 14
"""Rows of a table that are converted to text at once."""


def check_table(path: Path) -> None:
    """Refuse a table that cannot be written, before anything is measured.

    Raises
    ------
    SinkError
        If the name does not end in ``.csv`` or is not a valid file name, or its folder does not exist.
    """
    if path.suffix.lower() != ".csv":
        raise SinkError(f"{path} is no table that tiler writes: choose a name that ends in .csv", option="output")
    try:
        refused = not path.absolute().parent.is_dir() or path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, a NUL
        raise SinkError(f"cannot write {str(path)!a:.200}: {getattr(error, 'strerror', None) or error}",
                        option="output") from error
    if refused:
        raise SinkError(f"cannot write {path}: its folder does not exist, or it is a folder itself", option="output")


def write_csv(columns: Columns, path: Path) -> None:
    """Write a table with a header line; numbers read back exactly. The file gets its name when it is complete.

    Raises
    ------
    SinkError
        If it cannot be written.
    """
    try:
        with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
            file.writelines(csv_lines(columns))
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}", option="output") from error


def csv_lines(columns: Columns) -> Iterator[str]:
    """The lines of a table, header first."""
    yield ",".join(columns) + "\n"
    for row in _rows(columns):
        yield ",".join(map(str, row)) + "\n"


def _rows(columns: Columns) -> Iterator[tuple[object, ...]]:
    count = len(next(iter(columns.values())))
    for first in range(0, count, ROWS):
        yield from zip(*(_plain(column[first:first + ROWS]) for column in columns.values()), strict=True)


def _plain(column: Array) -> list[object]:
    """Values as Python numbers; booleans become 0 and 1."""
    found: list[object] = (column.astype(np.int64) if column.dtype == bool else column).tolist()
    return found
