"""Regions of TIFF pages: only the strips and tiles that a box touches are decoded.

Everything a read needs is taken from the file's directories once (offsets, byte counts, the decoder), and the bytes
are read by position. So threads share nothing but read-only tables.

tifffile normalises a page to five axes, ``(S, Z, Y, X, s)``: samples stored plane by plane, depth, length,
width, samples stored pixel by pixel; so does this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array
from tiler.sources.positions import FileBytes, read_region
from tiler.sources.raw import Index

Decoder = Callable[..., tuple[Array | None, tuple[int, ...], tuple[int, ...]]]
JPEG = frozenset({6, 7, 34892, 33007})
WHITE_IS_ZERO = 0


@dataclass(frozen=True, slots=True)
class PageFormat:
    """Storage layout of a page: everything that its decoding needs, for pages of one file with the same tags.

    Parameters
    ----------
    axes
        One letter an axis of the page, as tifffile names them.
    shape
        ``(S, Z, Y, X, s)`` of a page.
    places
        Which of these five each axis of a page is; the others have length 1.
    segment
        ``(Z, Y, X)`` of a strip or tile.
    dtype
        As stored, with the file's byte order.
    plain
        Whether segments that follow each other lie in the file as they lie in memory.
    decode
        tifffile's decoder.
    header
        JPEG header, for the decoder.
    fill
        Value of voxels that the file omits.
    inverted
        Whether the file says that 0 is white.
    """

    axes: str
    shape: tuple[int, ...]
    places: tuple[int, ...]
    segment: tuple[int, int, int]
    dtype: np.dtype[Any]
    plain: bool
    decode: Decoder
    header: bytes | None
    fill: float
    inverted: bool

    @classmethod
    def of(cls, page: Any) -> PageFormat:
        """Read it off a `tifffile.TiffPage`.

        Raises
        ------
        ValueError
            If numpy has no type for its samples.
        """
        if page.dtype is None:
            raise ValueError(f"samples of {page.bitspersample} bits and sample format {page.sampleformat} have no "
                             "numpy type")
        tiled = page.is_tiled
        return cls(
            axes=page.axes,
            shape=tuple(page.shaped),
            places=tuple(_place(axis, page.shaped) for axis in page.axes),
            segment=(page.tiledepth if tiled else 1,
                     page.tilelength if tiled else page.rowsperstrip,
                     page.tilewidth if tiled else page.imagewidth),
            dtype=np.dtype(page.parent.byteorder + page.dtype.char),
            plain=_is_plain(page),
            decode=page.decode,
            header=page.jpegheader if page.compression in JPEG else None,
            fill=page.nodata,
            inverted=page.photometric == WHITE_IS_ZERO,
        )

    @property
    def page_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[place] for place in self.places)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def kind(self) -> tuple[str, tuple[int, ...], str]:
        """Axes, shape and type of the voxels: pages that agree in it can be stacked."""
        return self.axes, self.page_shape, self.dtype.newbyteorder("=").str

    def touched(self, box: list[slice]) -> Iterator[int]:
        """Numbers of the segments that a box touches; segments are counted in the order S, Z, Y, X."""
        sizes = (1, *self.segment)
        counts = [-(-length // size) for length, size in zip(self.shape[:4], sizes, strict=True)]
        ranges = [range(part.start // size, -(-part.stop // size))
                  for part, size in zip(box[:4], sizes, strict=True)]
        for cell in product(*ranges):
            yield int(np.ravel_multi_index(cell, counts))


@dataclass(frozen=True, slots=True)
class Page:
    """One page: the file and the positions of its segments, and their layout.

    Parameters
    ----------
    file
        The file that holds the page.
    layout
        Layout of the page.
    offsets, counts
        Positions and lengths of its strips or tiles.
    tables
        JPEG tables.
    raw
        Whether it lies in the file in one piece, as it lies in memory.
    """

    file: FileBytes
    layout: PageFormat
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    tables: bytes | None
    raw: bool

    @property
    def end(self) -> int:
        """First byte of the file after its voxels."""
        if self.raw:
            return self.offsets[0] + self.layout.nbytes
        return max((offset + count for offset, count in zip(self.offsets, self.counts, strict=True)), default=0)

    def read(self, index: Index) -> Array:
        """One slice of the page, one entry for each of its axes."""
        if self.raw:
            return read_region(self.file, self.offsets[0], self.layout.page_shape, self.layout.dtype, index)
        box = [slice(0, 1)] * 5
        for place, part in zip(self.layout.places, index, strict=True):
            box[place] = part
        out = np.full([part.stop - part.start for part in box], self.layout.fill,
                      self.layout.dtype.newbyteorder("="))
        for number in self.layout.touched(box):
            self._paste(number, out, box)
        return out.reshape([part.stop - part.start for part in index])

    def _paste(self, number: int, out: Array, box: list[slice]) -> None:
        """Decode one segment and copy what it shares with the box."""
        header = self.layout.header
        options = {} if header is None and self.tables is None else {"jpegtables": self.tables, "jpegheader": header}
        data, at, _ = self.layout.decode(self._segment(number), number, **options)
        if data is None:
            return
        source, target = [], []
        starts, lengths = (*at[1:4], 0), data.shape
        for part, start, length in zip(box[1:], starts, lengths, strict=True):
            low, high = max(part.start, start), min(part.stop, start + length)
            source.append(slice(low - start, high - start))
            target.append(slice(low - part.start, high - part.start))
        out[(at[0] - box[0].start, *target)] = data[tuple(source)]

    def _segment(self, number: int) -> bytes | None:
        """The encoded bytes of a strip or tile; None for one that was left out (a sparse file)."""
        offset, count = self.offsets[number], self.counts[number]
        return self.file.read(offset, count) if offset and count else None


def in_one_piece(layout: PageFormat, offsets: tuple[int, ...], counts: tuple[int, ...]) -> bool:
    """Whether segments follow each other without a gap and hold the page as it lies in memory."""
    if not layout.plain or not offsets or 0 in offsets:
        return False
    if len(offsets) == 1:
        return True
    ends = (offset + count for offset, count in zip(offsets, counts, strict=True))
    return sum(counts) == layout.nbytes and all(end == offset for end, (_, offset) in
                                                zip(ends, pairwise(offsets), strict=False))


def check_complete(name: str, number: int, page: Page, size: int) -> None:
    """Refuse a page whose voxels lie beyond the end of its file, of ``size`` bytes.

    Raises
    ------
    SourceError
        If they do: the file was cut short.
    """
    segments = math.prod(-(-length // part) for length, part in
                         zip(page.layout.shape[:4], (1, *page.layout.segment), strict=True))
    if not page.raw and len(page.offsets) < segments:
        raise SourceError(f"{name} is damaged: page {number} of shape {page.layout.page_shape} takes {segments} strips "
                          f"or tiles, the file names {len(page.offsets)}")
    if page.end > size:
        raise SourceError(f"{name} is truncated: page {number} ends at byte {page.end}, the file at {size}")


def _place(axis: str, shaped: tuple[int, ...]) -> int:
    if axis == "S":
        return 0 if shaped[0] > 1 else 4
    return {"Z": 1, "Y": 2, "X": 3}[axis]


def _is_plain(page: Any) -> bool:
    """Neither compressed, packed nor filtered; tiles are as wide as the page."""
    tiled_in_order = not page.is_tiled or (
        page.imagewidth == page.tilewidth and page.imagelength % page.tilelength == 0
        and (page.imagedepth == 1 or page.imagelength == page.tilelength)
        and page.imagedepth % max(1, page.tiledepth) == 0)
    complex_integers = 5
    return bool(page.compression == 1 and page.bitspersample in {8, 16, 32, 64} and page.fillorder == 1
                and page.predictor == 1 and page.sampleformat != complex_integers and not page.is_subsampled
                and tiled_in_order)
