"""The tiles that write a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from tiler.geometry.boxes import Box, Shape, Span
from tiler.geometry.footprints import Footprint, Reach


@dataclass(frozen=True, slots=True)
class Tile:
    """One model input.

    Parameters
    ----------
    read
        Box that the model sees, in volume coordinates.
    write
        Box that this tile alone writes, in volume coordinates.
    crop
        The same box in coordinates of the model's output.
    """

    read: Box
    write: Box
    crop: Box


@dataclass(frozen=True, slots=True)
class _Piece:
    """A tile on one axis."""

    read: Span
    write: Span
    crop: Span


def canvas_of(volume: Span, reach: Reach) -> Span:
    """Return the canvas of a zero border: the volume, lengthened at its far end to the next size in phase."""
    # 570 voxels, low 92, high 96, stride 16: -(570 - 92 - 96) % 16 = 2, so the canvas has 572
    return Span(volume.start, volume.stop + -(volume.size - reach.low - reach.high) % reach.stride)


def _pieces(block: Span, tile: int, reach: Reach, canvas: Span | None) -> Iterator[_Piece]:
    """Lay the tiles of one block along one axis.

    With a canvas (zero border) a read that would leave the canvas is shifted back into it. Tile and canvas are
    congruent modulo the stride, so the shift is a whole number of strides and keeps the phase; the write does not
    move. A tile as long as the canvas has no neighbour, and its core is the whole block.
    """
    starts = _starts(block, tile, reach, canvas)
    for start in starts:
        read = _read(start, tile, reach, canvas)
        write = Span(start, start + starts.step).intersect(block)
        yield _Piece(read, write, write.shift(-(read.start + reach.shrink_low)))


def _starts(block: Span, tile: int, reach: Reach, canvas: Span | None) -> range:
    """Return the starts of the cores; the step of the range is their length."""
    if canvas is not None and tile == canvas.size:
        return range(block.start, block.stop, max(block.size, 1))
    return range(block.start // reach.stride * reach.stride, block.stop, reach.core(tile))


def _read(start: int, tile: int, reach: Reach, canvas: Span | None) -> Span:
    read = Span(start - reach.low, start - reach.low + tile)
    if canvas is None:
        return read
    return read.shift(max(canvas.start, min(read.start, canvas.stop - read.size)) - read.start)


def reads_of(block: Span, tile: int, reach: Reach, canvas: Span | None = None) -> tuple[int, Span]:
    """Count the tiles that write a block along one axis and return the hull of their reads; see `tiles_of`."""
    starts = _starts(block, tile, reach, canvas)
    first, last = (_read(start, tile, reach, canvas) for start in (starts[0], starts[-1]))
    return len(starts), Span(first.start, last.stop)


def tiles_of(block: Box, tile: Shape, footprint: Footprint, canvas: Box | None = None) -> list[Tile]:
    """Lay the tiles that together write one block, each voxel once.

    Parameters
    ----------
    block
        Box to write, in volume coordinates.
    tile
        Shape of the model's input in voxels (z, y, x): legal, or as long as the canvas.
    footprint
        Context, shrink and stride of the model.
    canvas
        Box that no tile may leave (zero border); None for a volume that is mirrored without end.

    Returns
    -------
    tiles
        In the order z, y, x; their writes are disjoint and fill the block.
    """
    held: Sequence[Span | None] = [None] * len(tile) if canvas is None else canvas.spans
    axes = [list(_pieces(*args)) for args in zip(block.spans, tile, footprint.axes, held, strict=True)]
    return [
        Tile(*(Box(tuple(getattr(piece, name) for piece in pieces)) for name in ("read", "write", "crop")))
        for pieces in product(*axes)
    ]
