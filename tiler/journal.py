"""The record of finished blocks, bound to the plan that they belong to.

A journal ``NAME.journal`` stands beside its output. Its first line holds the plan, every other line one block
whose data are durable: each line is JSON, a tab and the CRC-32 of the JSON, flushed to the disk before
anything else happens. A line cut short by a crash is the last one and is dropped; any other damage is an
error, because a journal that cannot be trusted is worth nothing.

"The chunk exists" would be no journal: zarr leaves out chunks that hold only the fill value.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from tiler.errors import JournalError, SinkError
from tiler.ports import Json

FORMAT = 1
Records = dict[str, dict[int, Json]]


def journal_path(output: Path) -> Path:
    return output.with_name(output.name + ".journal")


@contextmanager
def exclusive(output: Path) -> Iterator[None]:
    """Hold the advisory lock of an output: one run at a time.

    Raises
    ------
    JournalError
        If another run holds it.
    SinkError
        If nothing can be written beside the output.
    """
    lock = FileLock(output.with_name(output.name + ".lock"), timeout=0)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise JournalError(f"another run is writing {output}: wait for it, or choose another -o") from None
    except (FileExistsError, NotADirectoryError):
        raise SinkError(f"cannot write {output}: its folder {output.parent} is a file (-o)") from None
    except OSError as error:
        raise SinkError(f"cannot write {output}: {error.strerror or error} (-o)") from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


class Journal:
    """Append-only record of a run.

    Attributes
    ----------
    header
        JSON of the first line: the plan and all that is needed to go on.
    """

    def __init__(self, path: Path, header: Json, records: Records, file: IO[bytes] | None) -> None:
        self.path, self.header = path, header
        self._records, self._file = records, file

    @classmethod
    def create(cls, path: Path, header: Json) -> Journal:
        """Start anew, replacing an older journal."""
        journal = cls(path, {"format": FORMAT, **header}, {}, path.open("wb"))
        journal._write(journal.header)
        _sync_folder(path.parent)
        return journal

    @classmethod
    def load(cls, path: Path) -> Journal:
        """Read without going on.

        Raises
        ------
        JournalError
            If it is missing, damaged, or of a format that this version does not know.
        """
        header, records, _ = _parse(path)
        return cls(path, header, records, None)

    @classmethod
    def reopen(cls, path: Path) -> Journal:
        """Read to go on; a line that a crash cut short is removed."""
        header, records, sound = _parse(path)
        file = path.open("r+b")
        file.truncate(sound)
        file.seek(sound)
        return cls(path, header, records, file)

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

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, line: Json) -> None:
        if self._file is None:
            raise JournalError(f"journal {self.path} was opened for reading only")
        self._file.write(_line(line))
        self._file.flush()
        os.fsync(self._file.fileno())


def _line(content: Json) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return text + b"\t%08x\n" % zlib.crc32(text)


def _parse(path: Path) -> tuple[Json, Records, int]:
    """Header, records by stage and block, and how many bytes are sound."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        raise JournalError(f"there is no journal {path}: nothing to resume or to check") from None
    except OSError as error:
        raise JournalError(f"cannot read journal {path}: {error.strerror or error}") from error
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
    return header, records, sum(map(len, lines))


def _take(entry: dict[str, Any], records: Records) -> None:
    stage, index = records.setdefault(entry.pop("stage"), {}), entry.pop("block")
    if "void" in entry:
        del stage[index]
    else:
        stage[index] = entry


def _content(line: bytes, number: int, path: Path) -> dict[str, Any]:
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
