"""The record of finished blocks, bound to the plan that they belong to.

A journal ``NAME.journal`` lies beside its output. Its first line holds the plan; every other line records a block whose
data are durable. A line consists of JSON, a tab and the CRC-32 of the JSON, and is flushed to the disk at once. A last
line that a crash cut short is dropped; any other damage is an error, because a damaged journal proves nothing.

The existing chunks cannot replace a journal, because zarr omits chunks that hold only the fill value. On object stores
every line is a small object of its own (`tiler.stores.lines`).
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from tiler.errors import JournalError
from tiler.ports import Json
from tiler.stores.address import Place
from tiler.stores.journal_lines import Lines, lines_at
from tiler.stores.label_places import beside

FORMAT = 1
Records = dict[str, dict[int, Json]]


def journal_path(output: Place) -> Place:
    """Place of the journal of an output."""
    return beside(output, ".journal")


class Journal:
    """Append-only record of a run.

    Attributes
    ----------
    header
        JSON of the first line: the plan and everything needed to resume.
    """

    def __init__(self, path: Place, header: Json, records: Records, lines: Lines | None) -> None:
        self.path, self.header = path, header
        self._records, self._lines = records, lines

    @classmethod
    def create(cls, path: Place, header: Json) -> Journal:
        """Create a journal, replacing an older one."""
        lines = lines_at(path)
        first = _line({"format": FORMAT, **header})
        try:
            lines.begin()
            lines.append(first)
        except BaseException:
            lines.close()
            raise
        # The header as it is after loading, so that a run and its resumption use the same one.
        return cls(path, _content(first, 1, path), {}, lines)

    @classmethod
    def load(cls, path: Place) -> Journal:
        """Read a journal without continuing it.

        Raises
        ------
        JournalError
            If it is missing, damaged, or of a format that this version does not know.
        """
        header, records, _ = _parse(path, lines_at(path).read())
        return cls(path, header, records, None)

    @classmethod
    def reopen(cls, path: Place) -> Journal:
        """Open a journal to continue it; a line that a crash cut short is removed."""
        lines = lines_at(path)
        header, records, sound = _parse(path, lines.read())
        lines.resume(sound)
        return cls(path, header, records, lines)

    def append(self, stage: str, index: int, record: Json) -> None:
        """Record a block whose data are durable; durable itself on return."""
        self._write({"stage": stage, "block": index, **record})
        self._records.setdefault(stage, {})[index] = record

    def forget(self, stage: str, index: int) -> None:
        """Withdraw a record, so that the block is computed again."""
        self._write({"stage": stage, "block": index, "void": True})
        del self._records[stage][index]

    def records(self, stage: str) -> dict[int, Json]:
        """Records of a stage, by block."""
        return dict(self._records.get(stage, {}))

    @property
    def begun(self) -> bool:
        """Whether any block of any stage is recorded, so that a run can be resumed."""
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


def _parse(path: Place, lines: list[bytes]) -> tuple[Json, Records, list[bytes]]:
    """Header, records by stage and block, and the undamaged lines."""
    if lines and not lines[-1].endswith(b"\n"):
        lines = lines[:-1]
    if not lines:
        raise JournalError(f"journal {path} is empty: start anew with `overwrite=True`")
    header, *rest = [_content(line, number, path) for number, line in enumerate(lines, 1)]
    if header.get("format") != FORMAT:
        raise JournalError(f"journal {path} has format {header.get('format')!r}, this version reads {FORMAT}: "
                           "start anew with `overwrite=True`")
    records: Records = {}
    for number, entry in enumerate(rest, 2):
        try:
            _take(entry, records)
        except (KeyError, TypeError) as error:
            raise JournalError(f"journal {path} makes no sense at line {number} ({error}): "
                               "start anew with `overwrite=True`") from None
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
        raise JournalError(f"journal {path} is damaged at line {number}: start anew with `overwrite=True`")
    content = json.loads(text)
    if not isinstance(content, dict):
        raise JournalError(f"journal {path} makes no sense at line {number}: start anew with `overwrite=True`")
    return content
