"""Directories (IFDs) of a TIFF file: which pages there are, where each lies, and the tags that steer its decoding.

tifffile takes the tags of one page for those of all pages of an image. Here the tags of every page are read, so
that a page which is stored in another way is decoded in its own way.

References
----------
TIFF 6.0, section 2, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiler.errors import SourceError
from tiler.sources.positions import FileBytes

DECODING = frozenset({
    256, 257, 258, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323, 338, 339, 530, 531, 532, 32997, 32998,
    42113, 50674,
})
"""Tags on which the shape, the type or the decoding of a page depends."""
SUBFILE, STRIPS, STRIP_COUNTS, TILES, TILE_COUNTS, TABLES = 254, 273, 279, 324, 325, 347
WANTED = DECODING | {SUBFILE, STRIPS, STRIP_COUNTS, TILES, TILE_COUNTS, TABLES}
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
LONGEST = 2**28
"""Bytes of a value; longer ones are damage."""
REDUCED_OR_MASK = 0b101


@dataclass(frozen=True, slots=True)
class Ifd:
    """A directory of a file.

    Parameters
    ----------
    index
        Index in the chain of pages.
    offset
        Position in the file.
    signature
        The tags that steer decoding, with their values.
    offsets, counts
        Positions and lengths of the strips or tiles; empty if the file does not store both.
    tables
        JPEG tables.
    subfile
        Value of NewSubfileType.
    """

    index: int
    offset: int
    signature: tuple[tuple[int, int, bytes], ...]
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    tables: bytes | None
    subfile: int

    @property
    def secondary(self) -> bool:
        """Whether the page is a smaller copy or a mask of another one."""
        return bool(self.subfile & REDUCED_OR_MASK)


def chain(tiff: Any, file: FileBytes) -> list[Ifd]:
    """All directories of the main chain.

    Parameters
    ----------
    tiff
        A `tifffile.TiffFile`.
    file
        Its bytes.

    Raises
    ------
    SourceError
        If a link is broken or circular, or there is no page.
    """
    offset, found, seen = int(tiff.pages.first.offset), list[Ifd](), set[int]()
    while offset:
        if offset in seen:
            raise SourceError(f"{file.path} is damaged: the link after page {len(found) - 1} leads back")
        seen.add(offset)
        try:
            ifd, offset = read_ifd(tiff.tiff, file, offset, len(found))
        except (SourceError, struct.error):
            raise SourceError(f"{file.path} is truncated: the link after page {len(found) - 1} leads to nothing"
                              if found else f"{file.path} is truncated: its first page lies beyond its end") from None
        found.append(ifd)
    return found


def read_ifd(layout: Any, file: FileBytes, offset: int, index: int) -> tuple[Ifd, int]:
    """One directory, and the offset of the next (0 after the last).

    Parameters
    ----------
    layout
        `tifffile.TiffFormat` of the file: its byte order and the sizes of its numbers.
    """
    number, = struct.unpack(layout.tagnoformat, file.read(offset, layout.tagnosize))
    length = number * layout.tagsize
    data = file.read(offset + layout.tagnosize, length)
    end = offset + layout.tagnosize + length
    following, = struct.unpack(layout.offsetformat, file.read(end, layout.offsetsize))
    tags = {}
    for start in range(0, length, layout.tagsize):
        code, kind = struct.unpack(layout.tagformat1, data[start:start + 4])
        if code in WANTED and code not in tags:
            tags[code] = kind, _value(layout, file, kind, data[start + 4:start + layout.tagsize])
    return _ifd(layout, index, offset, tags), following


def _value(layout: Any, file: FileBytes, kind: int, field: bytes) -> bytes:
    """The bytes of a tag's value, from the directory or from where it points to."""
    count, = struct.unpack(layout.offsetformat, field[:layout.offsetsize])
    length = count * SIZES.get(kind, 1)
    if length <= layout.offsetsize:
        return field[layout.offsetsize:layout.offsetsize + length]
    if length > LONGEST:
        raise SourceError(f"{file.path} is damaged: a tag of it has {length} bytes")
    place, = struct.unpack(layout.offsetformat, field[layout.offsetsize:])
    return file.read(place, length)


def _ifd(layout: Any, index: int, offset: int, tags: Mapping[int, tuple[int, bytes]]) -> Ifd:
    def numbers(*codes: int) -> tuple[int, ...]:
        kind, value = next((tags[code] for code in codes if code in tags), (0, b""))
        letter = INTEGERS.get(kind)
        return struct.unpack(f"{layout.byteorder}{len(value) // SIZES[kind]}{letter}", value) if letter else ()

    offsets, counts = numbers(TILES, STRIPS), numbers(TILE_COUNTS, STRIP_COUNTS)
    whole = len(offsets) == len(counts)
    return Ifd(
        index=index, offset=offset,
        signature=tuple(sorted((code, *tags[code]) for code in DECODING if code in tags)),
        offsets=offsets if whole else (), counts=counts if whole else (),
        tables=tags[TABLES][1] if TABLES in tags else None,
        subfile=(numbers(SUBFILE) or (0,))[0],
    )
