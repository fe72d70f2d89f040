"""The record of finished blocks, bound to the plan that they belong to.

A journal ``NAME.journal`` stands beside its output. Its first line holds the plan, every other line one block
whose data are durable: each line is JSON, a tab and the CRC-32 of the JSON, flushed to the disk before
anything else happens. A line cut short by a crash is the last one and is dropped; any other damage is an
error, because a journal that cannot be trusted is worth nothing.

"The chunk exists" would be no journal: zarr leaves out chunks that hold only the fill value. On object stores every
line is a small object of its own (`tiler.stores.lines`).
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from filelock import FileLock, Timeout

from tiler.errors import JournalError, SinkError
from tiler.ports import Json
from tiler.stores import asking
from tiler.stores.address import Address, Place
from tiler.stores.label_places import beside

FORMAT = 1
Records = dict[str, dict[int, Json]]


class Lines(Protocol):
    """Where a journal is written."""

    def append(self, line: bytes) -> None: ...
    def close(self) -> None: ...


class FileLines:
    """Lines of a file, each flushed to the disk before anything else happens."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def append(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def journal_path(output: Place) -> Place:
    return beside(output, ".journal")


def exclusive(output: Place) -> AbstractContextManager[None]:
    """Hold the advisory lock of an output: one run at a time.

    Raises
    ------
    JournalError
        If another run holds it.
    SinkError
        If nothing can be written beside the output.
    """
    if isinstance(output, Address):
        held: AbstractContextManager[None] = asking("lease").leased(output)
        return held
    return _locked(output)


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    path = Path(str(beside(output, ".lock")))
    lock = FileLock(path, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        if not path.exists():  # filelock takes a lock that cannot be made for one that is held
            raise SinkError(f"cannot write {output}: nothing can be made in {path.parent} (-o)") from None
        raise JournalError(f"another run is writing {output}: wait for it, or choose another -o") from None
    except (FileExistsError, NotADirectoryError):
        raise SinkError(f"cannot write {output}: its folder {path.parent} is a file (-o)") from None
    except OSError as error:
        raise SinkError(f"cannot write {output}: {error.strerror or error} (-o)") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


class Journal:
    """Append-only record of a run.

    Attributes
    ----------
    header
        JSON of the first line: the plan and all that is needed to go on.
    """

    def __init__(self, path: Place, header: Json, records: Records, lines: Lines | None) -> None:
        self.path, self.header = path, header
        self._records, self._lines = records, lines

    @classmethod
    def create(cls, path: Place, header: Json) -> Journal:
        """Start anew, replacing an older journal."""
        lines = asking("lines").ObjectLines.begin(path) if isinstance(path, Address) else FileLines(path.open("wb"))
        journal = cls(path, {"format": FORMAT, **header}, {}, lines)
        journal._write(journal.header)
        if isinstance(path, Path):
            _sync_folder(path.parent)
        return journal

    @classmethod
    def load(cls, path: Place) -> Journal:
        """Read without going on.

        Raises
        ------
        JournalError
            If it is missing, damaged, or of a format that this version does not know.
        """
        header, records, _ = _parse(path)
        return cls(path, header, records, None)

    @classmethod
    def reopen(cls, path: Place) -> Journal:
        """Read to go on; a line that a crash cut short is removed."""
        header, records, sound = _parse(path)
        if isinstance(path, Address):
            return cls(path, header, records, asking("lines").ObjectLines(path, len(sound)))
        file = path.open("r+b")
        file.truncate(sum(map(len, sound)))
        file.seek(0, os.SEEK_END)
        return cls(path, header, records, FileLines(file))

    def append(self, stage: str, index: int, record: Json) -> None:
        """Record a block whose data are durable; durable itself on return."""
        self._write({"stage": stage, "block": index, **record})
        self._records.setdefault(stage, {})[index] = record

    def forget(self, stage: str, index: int) -> None:
        """Take a record back: the block is to be computed again."""
        self._write({"stage": stage, "block": index, "void": True})
        del self._records[stage][index]

    def records(self, stage: str) -> dict[int, Json]:
        """What was recorded of a stage, by block."""
        return dict(self._records.get(stage, {}))

    @property
    def begun(self) -> bool:
        """Whether any block of any stage is recorded: then there is something to go on with."""
        return any(records for stage, records in self._records.items() if stage != "created")

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()

    def _write(self, line: Json) -> None:
        if self._lines is None:
            raise JournalError(f"journal {self.path} was opened for reading only")
        self._lines.append(_line(line))


def _line(content: Json) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return text + b"\t%08x\n" % zlib.crc32(text)


def _read(path: Place) -> list[bytes]:
    if isinstance(path, Address):
        lines: list[bytes] = asking("lines").read_lines(path)
        if not lines:
            raise JournalError(f"there is no journal {path}: nothing to resume or to check")
        return lines
    try:
        return path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        raise JournalError(f"there is no journal {path}: nothing to resume or to check") from None
    except OSError as error:
        raise JournalError(f"cannot read journal {path}: {error.strerror or error}") from error


def _parse(path: Place) -> tuple[Json, Records, list[bytes]]:
    """Header, records by stage and block, and the lines that are sound."""
    lines = _read(path)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    header, *rest = [_content(line, number, path) for number, line in enumerate(lines, 1)] or [{}]
    if header.get("format") != FORMAT:
        raise JournalError(f"journal {path} has format {header.get('format')!r}, this version reads {FORMAT}: "
                           "start anew with --overwrite")
    records: Records = {}
    for number, entry in enumerate(rest, 2):
        try:
            _take(entry, records)
        except KeyError as error:
            raise JournalError(f"journal {path} makes no sense at line {number} ({error}): "
                               "start anew with --overwrite") from None
    return header, records, lines


def _take(entry: dict[str, Any], records: Records) -> None:
    stage, index = records.setdefault(entry.pop("stage"), {}), entry.pop("block")
    if "void" in entry:
        del stage[index]
    else:
        stage[index] = entry


def _content(line: bytes, number: int, path: Place) -> dict[str, Any]:
    text, _, crc = line.rstrip(b"\n").rpartition(b"\t")
    if crc != b"%08x" % zlib.crc32(text):
        raise JournalError(f"journal {path} is damaged at line {number}: start anew with --overwrite")
    content = json.loads(text)
    if not isinstance(content, dict):
        raise JournalError(f"journal {path} makes no sense at line {number}: start anew with --overwrite")
    return content


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable; a system that cannot open folders does it by itself."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
