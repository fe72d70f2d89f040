"""The tiles that write a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from tiler.geometry.boxes import Box, Shape, Span
from tiler.geometry.footprints import Footprint, Reach


@dataclass(frozen=True, slots=True)
class Tile:
    """One model input. ``read`` and ``write`` are in volume coordinates, ``crop`` in the model's output."""

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
    """The canvas of a zero border: the volume, lengthened at its far end to the next size in phase."""
    return Span(volume.start, volume.stop + -(volume.size - reach.low - reach.high) % reach.stride)


def _pieces(block: Span, tile: int, reach: Reach, canvas: Span | None) -> Iterator[_Piece]:
    """The tiles of one block on one axis.

    A canvas holds every read inside it (zero border). The shift that this takes is a whole number of
    strides, since tile and canvas are in the same residue class, so the phase is kept; and only the read
    moves, never the write. A tile as long as the canvas has no neighbour: all of the block is its core.
    """
    starts = _starts(block, tile, reach, canvas)
    for start in starts:
        read = _read(start, tile, reach, canvas)
        write = Span(start, start + starts.step).intersect(block)
        yield _Piece(read, write, write.shift(-(read.start + reach.shrink_low)))


def _starts(block: Span, tile: int, reach: Reach, canvas: Span | None) -> range:
    """Where cores start; the step is their length."""
    if canvas is not None and tile == canvas.size:
        return range(block.start, block.stop, max(block.size, 1))
    return range(block.start // reach.stride * reach.stride, block.stop, reach.core(tile))


def _read(start: int, tile: int, reach: Reach, canvas: Span | None) -> Span:
    read = Span(start - reach.low, start - reach.low + tile)
    if canvas is None:
        return read
    return read.shift(max(canvas.start, min(read.start, canvas.stop - read.size)) - read.start)


def reads_of(block: Span, tile: int, reach: Reach, canvas: Span | None = None) -> tuple[int, Span]:
    """How many tiles write a block along one axis, and the hull of what they read; see `tiles_of`."""
    starts = _starts(block, tile, reach, canvas)
    first, last = (_read(start, tile, reach, canvas) for start in (starts[0], starts[-1]))
    return len(starts), Span(first.start, last.stop)


def tiles_of(block: Box, tile: Shape, footprint: Footprint, canvas: Box | None = None) -> list[Tile]:
    """The tiles that together write one block, each voxel once.

    Parameters
    ----------
    block
        What is to be written, in volume coordinates.
    tile
        Shape of the model's input; legal, or as long as the canvas.
    footprint
        Of the model.
    canvas
        The box that no tile may leave (zero border); None where the volume is mirrored without end.
    """
    held: Sequence[Span | None] = [None] * len(tile) if canvas is None else canvas.spans
    axes = [list(_pieces(*args)) for args in zip(block.spans, tile, footprint.axes, held, strict=True)]
    return [
        Tile(*(Box(tuple(getattr(piece, name) for piece in pieces)) for name in ("read", "write", "crop")))
        for pieces in product(*axes)
    ]
