"""Tables of objects as files: CSV and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tiler.errors import SinkError
from tiler.objects.columns import Columns
from tiler.ports import Array
from tiler.stores.durable import obstacle, replacing

ROWS = 1 << 14
"""Rows of a table that are converted at once."""


def check_format(path: Path, option: str) -> None:
    """Refuse a table whose format is unknown or cannot be written here.

    Raises
    ------
    SinkError
        The message names the option.
    """
    suffix = path.suffix.lower()
    if (reason := obstacle(path)) is not None:
        raise SinkError(f"cannot write {path}: {reason}", option=option)
    if suffix not in WRITERS:
        raise SinkError(f"tables end in {' or '.join(WRITERS)}, got {path}", option=option)
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise SinkError(f"{path}: tables in Parquet need pyarrow: pip install 'em-tiler[parquet]', or choose a name "
                        "that ends in .csv", option=option)


def check_table(path: Path, option: str = "output") -> None:
    """Refuse a table that cannot be written, before anything is measured.

    Raises
    ------
    SinkError
        If its format is unknown, its name is not valid, or its folder does not exist.
    """
    check_format(path, option)
    try:
        refused = not path.absolute().parent.is_dir() or path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, a NUL
        raise SinkError(f"cannot write {str(path)!a:.200}: {getattr(error, 'strerror', None) or error}",
                        option=option) from error
    if refused:
        raise SinkError(f"cannot write {path}: its folder does not exist, or it is a folder itself", option=option)


def write_table(columns: Columns, path: Path, option: str = "output") -> None:
    """Write a table; numbers read back exactly. The file gets its name when it is complete.

    Raises
    ------
    SinkError
        If it cannot be written.
    """
    try:
        with replacing(path) as draft:
            WRITERS[path.suffix.lower()](columns, draft)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}", option=option) from error


def _write_csv(columns: Columns, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(csv_lines(columns))


def csv_lines(columns: Columns) -> Iterator[str]:
    """The lines of a table, header first."""
    yield ",".join(columns) + "\n"
    for row in _rows(columns):
        yield ",".join(map(str, row)) + "\n"


def _rows(columns: Columns) -> Iterator[tuple[object, ...]]:
    for part in _parts(columns):
        yield from zip(*map(_plain, part.values()), strict=True)


def _parts(columns: Columns) -> Iterator[Columns]:
    """Some rows after the other."""
    count = len(next(iter(columns.values())))
    for first in range(0, count, ROWS):
        yield {name: column[first:first + ROWS] for name, column in columns.items()}


def _plain(column: Array) -> list[object]:
    """Values as Python numbers; booleans become 0 and 1."""
    found: list[object] = (column.astype(np.int64) if column.dtype == bool else column).tolist()
    return found


def _write_parquet(columns: Columns, path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = {name: pyarrow.from_numpy_dtype(column.dtype) for name, column in columns.items()}
    with parquet.ParquetWriter(path, pyarrow.schema(kinds)) as file:
        for part in _parts(columns):
            file.write_table(pyarrow.table(part))


WRITERS: dict[str, Callable[[Columns, Path], None]] = {".csv": _write_csv, ".parquet": _write_parquet}
"""Formats of tables by the end of their name."""
