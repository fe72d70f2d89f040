"""The lines of a journal: of a file on a disk, or small objects of an object store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

from tiler.errors import JournalError
from tiler.stores import asking
from tiler.stores.address import Place, by_place
from tiler.stores.durable import replace_durably
from tiler.stores.notes import notes_at


class Lines(Protocol):
    """Where a journal is kept."""

    def read(self) -> list[bytes]:
        """All lines, each with its end; the last one may be cut short.

        Raises
        ------
        JournalError
            If there is no journal, or it cannot be read.
        """
        ...

    def more(self) -> list[bytes]:
        """Whole lines that came since the last call; at first all of them. There may be none, or no journal."""
        ...

    def begin(self, first: bytes) -> None:
        """Begin a new journal with its first line, without the lines of an older one."""
        ...

    def begin_first(self, line: bytes) -> bool:
        """Begin a journal by its first line unless there is one, and return whether that was so; not kept open."""
        ...

    def resume(self, sound: Sequence[bytes]) -> None:
        """Continue after these of the lines that were read."""
        ...

    def append(self, line: bytes) -> None:
        """Write one more line, durable on return.

        Raises
        ------
        JournalError
            If it cannot be written.
        """
        ...

    def close(self) -> None: ...


def lines_at(place: Place) -> Lines:
    """The lines of the journal at a place; nothing is read or made yet."""
    lines: Lines = by_place(place, FileLines, lambda address: asking("lines").ObjectLines(address))
    return lines


class FileLines:
    """Lines of a file, each flushed to the disk before anything else happens."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._read = 0

    def read(self) -> list[bytes]:
        try:
            return self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            raise no_journal(self._path) from None
        except OSError as error:
            raise JournalError(f"cannot read journal {self._path}: {error.strerror or error}") from error

    def more(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                content = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise JournalError(f"cannot read journal {self._path}: {error.strerror or error}") from error
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.splitlines(keepends=True)

    def begin_first(self, line: bytes) -> bool:
        return notes_at(self._path.parent).create(self._path.name, line)

    def begin(self, first: bytes) -> None:
        """In one step: a run that is killed here leaves the older journal or the new one, never an empty one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(self._path, first)
        self._file = self._path.open("ab", buffering=0)

    def resume(self, sound: Sequence[bytes]) -> None:
        file = self._path.open("r+b", buffering=0)
        file.truncate(sum(map(len, sound)))
        file.seek(0, os.SEEK_END)
        self._file = file

    def append(self, line: bytes) -> None:
        assert self._file is not None, "begun or resumed"
        try:
            left = memoryview(line)
            while left:
                left = left[self._file.write(left):]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise JournalError(f"cannot write the journal {self._path}: {error.strerror or error}; what it holds stays "
                               "valid: the same command with `resume=True` goes on") from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def no_journal(place: Place) -> JournalError:
    """The error for a missing journal."""
    return JournalError(f"there is no journal {place}: nothing can be resumed or checked; `overwrite=True` starts anew")
