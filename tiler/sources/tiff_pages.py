"""Regions of TIFF pages: only the strips and tiles that a box touches are decoded.

Everything a read needs is taken from tifffile once (offsets, byte counts, the decoder), and the bytes come from
a memory map. So nothing is shared between threads but read-only tables, and no file position is moved.

tifffile normalises a page to five axes, ``(S, Z, Y, X, s)``: samples stored plane by plane, depth, length,
width, samples stored pixel by pixel; so does this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array
from tiler.sources.raw import Index

Decoder = Callable[..., tuple[Array | None, tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class Page:
    """Where one page's segments lie in which file."""

    buffer: Array
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    tables: bytes | None

    def segment(self, number: int) -> bytes | None:
        """Its encoded bytes; None for one that was left out (a sparse file)."""
        offset, count = self.offsets[number], self.counts[number]
        return self.buffer[offset:offset + count].tobytes() if offset and count else None


@dataclass(frozen=True, slots=True)
class PageFormat:
    """How all pages of a series are stored.

    Parameters
    ----------
    shape
        ``(S, Z, Y, X, s)`` of a page.
    places
        Which of these five each axis of a page is; the others have length 1.
    segment
        ``(Z, Y, X)`` of a strip or tile.
    dtype
        As stored, with the file's byte order.
    raw
        Whether a page lies in the file as it lies in memory.
    decode
        tifffile's decoder.
    header
        JPEG header, for the decoder.
    fill
        Value of what the file leaves out.
    """

    shape: tuple[int, ...]
    places: tuple[int, ...]
    segment: tuple[int, int, int]
    dtype: np.dtype[Any]
    raw: bool
    decode: Decoder
    header: bytes | None
    fill: float

    @classmethod
    def of(cls, keyframe: Any, byteorder: str) -> PageFormat:
        """Read it off a `tifffile.TiffPage`."""
        tiled = keyframe.is_tiled
        return cls(
            shape=tuple(keyframe.shaped),
            places=tuple(_place(axis, keyframe.shaped) for axis in keyframe.axes),
            segment=(keyframe.tiledepth if tiled else 1,
                     keyframe.tilelength if tiled else keyframe.rowsperstrip,
                     keyframe.tilewidth if tiled else keyframe.imagewidth),
            dtype=np.dtype(byteorder + keyframe.dtype.char),
            raw=keyframe.is_final,
            decode=keyframe.decode,
            header=keyframe.jpegheader if _is_jpeg(keyframe) else None,
            fill=keyframe.nodata,
        )

    @property
    def page_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[place] for place in self.places)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, page: Page | None, index: Index) -> Array:
        """One slice of a page, one entry for each of the page's axes."""
        if page is None:
            return np.full([part.stop - part.start for part in index], self.fill, self.dtype)
        if self.raw:
            mapped: Array = np.ndarray(self.page_shape, self.dtype, page.buffer, page.offsets[0])
            return mapped[index]
        return self._decoded(page, index)

    def _decoded(self, page: Page, index: Index) -> Array:
        box = [slice(0, 1)] * 5
        for place, part in zip(self.places, index, strict=True):
            box[place] = part
        out = np.full([part.stop - part.start for part in box], self.fill, self.dtype.newbyteorder("="))
        for number in self._touched(box):
            self._paste(page, number, out, box)
        return out.reshape([part.stop - part.start for part in index])

    def _touched(self, box: list[slice]) -> Iterator[int]:
        """Numbers of the segments that a box touches; segments are counted in the order S, Z, Y, X."""
        sizes = (1, *self.segment)
        counts = [-(-length // size) for length, size in zip(self.shape[:4], sizes, strict=True)]
        ranges = [range(part.start // size, -(-part.stop // size))
                  for part, size in zip(box[:4], sizes, strict=True)]
        for cell in product(*ranges):
            yield int(np.ravel_multi_index(cell, counts))

    def _paste(self, page: Page, number: int, out: Array, box: list[slice]) -> None:
        """Decode one segment and copy what it shares with the box."""
        options = {} if self.header is None and page.tables is None else {"jpegtables": page.tables,
                                                                         "jpegheader": self.header}
        data, at, _ = self.decode(page.segment(number), number, **options)
        if data is None:
            return
        source, target = [], []
        starts, lengths = (*at[1:4], 0), data.shape
        for part, start, length in zip(box[1:], starts, lengths, strict=True):
            low, high = max(part.start, start), min(part.stop, start + length)
            source.append(slice(low - start, high - start))
            target.append(slice(low - part.start, high - part.start))
        out[(at[0] - box[0].start, *target)] = data[tuple(source)]


def _place(axis: str, shaped: tuple[int, ...]) -> int:
    if axis == "S":
        return 0 if shaped[0] > 1 else 4
    return {"Z": 1, "Y": 2, "X": 3}[axis]


def _is_jpeg(keyframe: Any) -> bool:
    return keyframe.compression in {6, 7, 34892, 33007}


def check_complete(name: str, number: int, page: Page, layout: PageFormat) -> None:
    """Refuse a page whose voxels lie beyond the end of its file.

    Raises
    ------
    SourceError
        If they do: the file was cut short.
    """
    end = max((offset + count for offset, count in zip(page.offsets, page.counts, strict=True)), default=0)
    if layout.raw:
        end = max(end, page.offsets[0] + layout.nbytes)
    if end > len(page.buffer):
        raise SourceError(f"{name} is truncated: page {number} ends at byte {end}, the file at {len(page.buffer)}")
