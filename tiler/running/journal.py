"""The record of finished blocks, bound to the plan that they belong to.

A journal ``NAME.journal`` lies beside its output. Its first line holds the plan; every other line records a block whose
data are durable. A line consists of JSON, a tab and the CRC-32 of the JSON, and is flushed to the disk at once. A last
line that a crash cut short is dropped; any other damage is an error, because a damaged journal proves nothing.

The existing chunks cannot replace a journal, because zarr omits chunks that hold only the fill value. On object stores
every line is a small object of its own (`tiler.stores.lines`).

A line may also say what does not belong to the record: when the block was finished and how long its steps took
(``about``), that its record is withdrawn (``void``), or that it failed and was set aside (``failed``).
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from tiler.errors import JournalError
from tiler.ports import Json
from tiler.stores.address import Place
from tiler.stores.journal_lines import Lines, lines_at
from tiler.stores.label_places import beside
from tiler.stores.notes import notes_at

FORMAT, READABLE = 2, (1, 2)
ABOUT, FAILED = "about", "failed"
PARTS = ".parts"
"""End of the name of the folder beside an output that holds the journals of parts."""

Records = dict[str, dict[int, Json]]


def journal_path(output: Place) -> Place:
    """Place of the journal of an output."""
    return beside(output, ".journal")


@dataclass(slots=True)
class Entries:
    """The lines of a journal after its first one, sorted by stage and block."""

    records: Records = field(default_factory=dict)
    about: Records = field(default_factory=dict)
    failures: dict[str, dict[int, str]] = field(default_factory=dict)

    def take(self, line: dict[str, Any]) -> None:
        """Take in one more line."""
        name, index = line.pop("stage"), line.pop("block")
        stage, about = self.records.setdefault(name, {}), line.pop(ABOUT, None)
        self.failures.get(name, {}).pop(index, None)
        if "void" in line:
            del stage[index]
        elif FAILED in line:
            self.failures.setdefault(name, {})[index] = line[FAILED]
        else:
            stage[index] = line
        if about is not None:
            self.about.setdefault(name, {})[index] = about

    def add(self, other: Entries) -> None:
        """Take in the entries of another journal; a block that any of them has finished has not failed."""
        for mine, theirs in ((self.failures, other.failures), (self.records, other.records),
                             (self.about, other.about)):
            for name, blocks in theirs.items():
                mine.setdefault(name, {}).update(blocks)  # type: ignore[arg-type]  # the same kind on both sides
        for name, failures in self.failures.items():
            for index in failures.keys() & self.records.get(name, {}).keys():
                del failures[index]


class Journal:
    """Append-only record of a run.

    Attributes
    ----------
    header
        JSON of the first line: the plan and everything needed to resume.
    """

    def __init__(self, path: Place, header: Json, entries: Entries, lines: Lines | None) -> None:
        self.path, self.header = path, header
        self._entries, self._lines = entries, lines

    @classmethod
    def create(cls, path: Place, header: Json) -> Journal:
        """Create a journal, replacing an older one."""
        lines = lines_at(path)
        first = _line({"format": FORMAT, **header})
        try:
            lines.begin(first)
        except BaseException:
            lines.close()
            raise
        # The header as it is after loading, so that a run and its resumption use the same one.
        return cls(path, _content(first, 1, path), Entries(), lines)

    @classmethod
    def load(cls, path: Place) -> Journal:
        """Read a journal without continuing it, with those of all parts of its run.

        Raises
        ------
        JournalError
            If it is missing, damaged, or of a format that this version does not know.
        """
        header, entries, _ = _parse(path, lines_at(path).read())
        for part in parts_of(path, header):
            entries.add(Tail(part).entries)
        return cls(path, header, entries, None)

    @classmethod
    def establish(cls, path: Place, header: Json) -> bool:
        """Begin a journal that several processes share, unless one of them has begun it; return whether it was new."""
        return lines_at(path).begin_first(_line({"format": FORMAT, **header}))

    @classmethod
    def reopen(cls, path: Place) -> Journal:
        """Open a journal to continue it; a line that a crash cut short is removed."""
        lines = lines_at(path)
        header, entries, sound = _parse(path, lines.read())
        lines.resume(sound)
        return cls(path, header, entries, lines)

    def append(self, stage: str, index: int, record: Json, about: Json | None = None) -> None:
        """Record a block whose data are durable; durable itself on return.

        Parameters
        ----------
        about
            When and how fast it was made, which is not part of the record.
        """
        self._write({"stage": stage, "block": index, **record, **({ABOUT: about} if about else {})})

    def set_aside(self, stage: str, index: int, reason: str) -> None:
        """Note that a block failed, so that others know of it; it is computed again when the run goes on."""
        self._write({"stage": stage, "block": index, FAILED: reason})

    def forget(self, stage: str, index: int) -> None:
        """Withdraw a record, so that the block is computed again."""
        self._write({"stage": stage, "block": index, "void": True})

    def records(self, stage: str) -> dict[int, Json]:
        """Records of a stage, by block."""
        return dict(self._entries.records.get(stage, {}))

    def about(self, stage: str) -> dict[int, Json]:
        """When and how fast each block of a stage was made, by block, where that is known."""
        return dict(self._entries.about.get(stage, {}))

    def failures(self, stage: str) -> dict[int, str]:
        """Reasons why blocks of a stage were set aside, by block."""
        return dict(self._entries.failures.get(stage, {}))

    @property
    def begun(self) -> bool:
        """Whether any block of any stage is recorded, so that a run can be resumed."""
        return any(records for stage, records in self._entries.records.items() if stage != "created")

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()

    def _write(self, line: Json) -> None:
        if self._lines is None:
            raise JournalError(f"journal {self.path} was opened for reading only")
        self._lines.append(_line(line))
        self._entries.take(dict(line))


class Tail:
    """A journal that another process writes, read as it grows.

    Attributes
    ----------
    header
        JSON of its first line; None until there is one.
    """

    def __init__(self, path: Place) -> None:
        self.path, self.entries = path, Entries()
        self.header: Json | None = None
        self._lines, self._count = lines_at(path), 0
        self.follow()

    def follow(self) -> None:
        """Read the lines that came since."""
        for line in self._lines.more():
            self._count += 1
            content = _content(line, self._count, self.path)
            if self.header is None:
                self.header = content
                continue
            try:
                self.entries.take(content)
            except (KeyError, TypeError) as error:
                raise JournalError(f"journal {self.path} makes no sense at line {self._count} ({error})") from None


def parts_place(journal: Place, header: Json) -> Place:
    """Folder of all that the parts of a run share, beside its journal; each run has its own."""
    return journal.with_name(journal.name.removesuffix(".journal") + PARTS) / str(header["shared"]["id"])


def parts_of(journal: Place, header: Json) -> list[Place]:
    """Journals of the parts of a run; none if it is not shared."""
    if "shared" not in header:
        return []
    folder = parts_place(journal, header)
    return [folder / "journals" / name for name in notes_at(folder).names("journals")]


def _line(content: Json) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return text + b"\t%08x\n" % zlib.crc32(text)


def _parse(path: Place, lines: list[bytes]) -> tuple[Json, Entries, list[bytes]]:
    """Header, entries by stage and block, and the undamaged lines."""
    if lines and not lines[-1].endswith(b"\n"):
        lines = lines[:-1]
    if not lines:
        raise JournalError(f"journal {path} is empty: start anew with `overwrite=True`")
    header, *rest = [_content(line, number, path) for number, line in enumerate(lines, 1)]
    if header.get("format") not in READABLE:
        raise JournalError(f"journal {path} has format {header.get('format')!r}, this version reads "
                           f"{' and '.join(map(str, READABLE))}: start anew with `overwrite=True`")
    entries = Entries()
    for number, entry in enumerate(rest, 2):
        try:
            entries.take(entry)
        except (KeyError, TypeError) as error:
            raise JournalError(f"journal {path} makes no sense at line {number} ({error}): "
                               "start anew with `overwrite=True`") from None
    return header, entries, lines


def _content(line: bytes, number: int, path: Place) -> dict[str, Any]:
    text, _, crc = line.rstrip(b"\n").rpartition(b"\t")
    if crc != b"%08x" % zlib.crc32(text):
        raise JournalError(f"journal {path} is damaged at line {number}: start anew with `overwrite=True`")
    content = json.loads(text)
    if not isinstance(content, dict):
        raise JournalError(f"journal {path} makes no sense at line {number}: start anew with `overwrite=True`")
    return content
