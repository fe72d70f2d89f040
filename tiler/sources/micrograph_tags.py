"""The tree of tags of a DM3 or DM4 file; arrays are left where they are.

::

    file     version, length, byte order of the values, a group
    group    sorted, open, number of tags, tags
    tag      20, name, group                        20 is a group, 21 a value
             21, name, "%%%%", n numbers, value      the numbers say its type: 3 an int32, 15 a structure, 18 a text,
                                                    20 an array

All but the values is big-endian; counts have 4 bytes in DM3 and 8 in DM4.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiler.errors import SourceError
from tiler.sources.positions import FileBytes

GROUP, VALUE = 20, 21
STRUCT, TEXT, ARRAY = 15, 18, 20
SIMPLE = {2: "h", 3: "i", 4: "H", 5: "I", 6: "f", 7: "d", 8: "?", 9: "b", 10: "b", 11: "q", 12: "Q"}
"""Numbers by their code in the tags, as `struct` calls them."""

LONGEST = 256
"""Bytes of a text that are read."""

DEEPEST = 64
"""Groups within groups: damaged files could claim any number."""


@dataclass(frozen=True, slots=True)
class Block:
    """The place of an array in the file."""

    offset: int
    bytes: int


def text_of(found: Any, file: FileBytes, order: str) -> str:
    """The text of a tag; empty if it is none."""
    if isinstance(found, Block):
        found = file.read(found.offset, min(found.bytes, LONGEST)).decode(_utf16(order), "replace")
    return found if isinstance(found, str) else ""


def _utf16(order: str) -> str:
    return "utf-16-le" if order == "<" else "utf-16-be"


def tags_of(path: Path, file: FileBytes) -> tuple[str, dict[str, Any]]:
    """Byte order of the values (``<`` or ``>``), and the tags as dictionaries within dictionaries.

    Raises
    ------
    SourceError
        If the file is not one of DigitalMicrograph, or it is damaged.
    """
    if file.size < 16:
        raise SourceError(f"{path} has {file.size} bytes, too few for a DM3 or DM4 file")
    version, = struct.unpack(">i", file.read(0, 4))
    if version not in (3, 4):
        raise SourceError(f"{path} is not a DM3 or DM4 file: its version is {version}")
    wide = version == 4
    little, = struct.unpack(">i", file.read(12 if wide else 8, 4))
    reader = _Reader(path, file, 16 if wide else 12, wide, "<" if little else ">")
    return reader.order, reader.group(0)


@dataclass(slots=True)
class _Reader:
    """Reads tags one after the other."""

    path: Path
    file: FileBytes
    at: int
    wide: bool
    order: str

    def group(self, depth: int) -> dict[str, Any]:
        """The tags of a group by name, those without a name by number."""
        if depth > DEEPEST:
            raise self._damaged("more than 64 groups lie within each other")
        self.at += 2
        count, tags = self._count(), dict[str, Any]()
        if not 0 <= count <= self.file.size:
            raise self._damaged(f"a group claims {count} tags")
        for number in range(count):
            name, value = self._tag(depth)
            tags[name or str(number)] = value
        return tags

    def _tag(self, depth: int) -> tuple[str, Any]:
        kind, length = struct.unpack(">BH", self._next(3))
        name = self._next(length).decode("latin-1")
        if self.wide:
            self.at += 8
        if kind == GROUP:
            return name, self.group(depth + 1)
        if kind != VALUE or self._next(4) != b"%%%%":
            raise self._damaged(f"a tag of kind {kind}")
        return name, self._value([self._count() for _ in range(self._counted())])

    def _value(self, info: list[int]) -> Any:
        """A number, a tuple of numbers, a text, or the place of an array."""
        if info and info[0] in SIMPLE:
            return self._number(info[0])
        if info[:1] == [STRUCT] and len(info) >= 3:
            return tuple(self._number(code) for code in info[4::2])
        if info[:1] == [TEXT] and len(info) > 1:
            return self._next(info[1]).decode(_utf16(self.order), "replace")
        if info[:1] == [ARRAY] and len(info) > 2:
            return self._array(info)
        raise self._damaged(f"a value of type {info[:3]}")

    def _array(self, info: list[int]) -> Any:
        """The place of an array; texts are arrays of 16-bit numbers, too."""
        codes = info[5:-1:2] if info[1] == STRUCT else info[1:2]
        length = info[-1] * sum(struct.calcsize("=" + self._code(code)) for code in codes)
        if length < 0 or self.at + length > self.file.size:
            raise self._damaged(f"an array of {info[-1]} values leaves it")
        block = Block(self.at, length)
        self.at += length
        return block

    def _number(self, code: int) -> int | float:
        form = self.order + self._code(code)
        found: int | float = struct.unpack(form, self._next(struct.calcsize(form)))[0]
        return found

    def _code(self, code: int) -> str:
        if code not in SIMPLE:
            raise self._damaged(f"a number of type {code}")
        return SIMPLE[code]

    def _counted(self) -> int:
        count = self._count()
        if not 0 < count < 2**16:
            raise self._damaged(f"a value that {count} numbers describe")
        return count

    def _count(self) -> int:
        found: int = struct.unpack(">q" if self.wide else ">i", self._next(8 if self.wide else 4))[0]
        return found

    def _next(self, length: int) -> bytes:
        if length < 0 or self.at + length > self.file.size:
            raise self._damaged("a tag leaves it")
        found: bytes = self.file.read(self.at, length)
        self.at += length
        return found

    def _damaged(self, how: str) -> SourceError:
        return SourceError(f"{self.path} is damaged or truncated: at byte {self.at} {how}")
