"""Where tiles lie: integers only, one axis first, then the product of the axes.

Everything here is in voxels of the volume, axes in the order z, y, x, spans half open. On one axis, for a
tile that is held nowhere::

    volume      ...|----------------------------------------------------|...
    stride grid    |     |     |     |     |     |     |     |     |     |
    read                 [==low==|=========core=========|==high===]          what the model sees: `tile` voxels
    output                 [--------------------------------]                read less shrink_low and shrink_high
    block                            (-----------------------------...       what one task writes
    write                            [==================]                    core, clipped to the block
    crop                             where `write` lies in `output`

A core starts on the stride grid *of the volume* and is a whole number of strides long, because a network
which pools repeats exactly only under a shift by its total stride.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import overload

from tiler.errors import GeometryError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open interval ``[start, stop)`` of voxels on one axis."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if self.stop < self.start:
            raise GeometryError(f"a span cannot end before it starts, got {self.start}:{self.stop}")

    def __str__(self) -> str:
        return f"{self.start}:{self.stop}"

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def slice(self) -> slice:
        return slice(self.start, self.stop)

    def shift(self, by: int) -> Span:
        return Span(self.start + by, self.stop + by)

    def intersect(self, other: Span) -> Span:
        """What both hold; an empty span at the nearer end where they do not meet."""
        start = max(self.start, other.start)
        return Span(start, max(start, min(self.stop, other.stop)))

    def contains(self, other: Span) -> bool:
        return self.start <= other.start and other.stop <= self.stop


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """Product of one span an axis."""

    spans: tuple[Span, ...]

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> Box:
        """The box of that shape at the origin."""
        return cls(tuple(Span(0, int(size)) for size in shape))

    @classmethod
    def between(cls, start: Sequence[int], stop: Sequence[int]) -> Box:
        return cls(tuple(Span(int(a), int(b)) for a, b in zip(start, stop, strict=True)))

    def __str__(self) -> str:
        return "[" + ", ".join(map(str, self.spans)) + "]"

    @property
    def start(self) -> Shape:
        return tuple(span.start for span in self.spans)

    @property
    def stop(self) -> Shape:
        return tuple(span.stop for span in self.spans)

    @property
    def shape(self) -> Shape:
        return tuple(span.size for span in self.spans)

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(span.slice for span in self.spans)

    def shift(self, by: Sequence[int]) -> Box:
        return Box(tuple(span.shift(step) for span, step in zip(self.spans, by, strict=True)))

    def back(self, by: Sequence[int]) -> Box:
        """The same box in coordinates whose origin is ``by``."""
        return self.shift([-step for step in by])

    def intersect(self, other: Box) -> Box:
        return Box(tuple(a.intersect(b) for a, b in zip(self.spans, other.spans, strict=True)))

    def contains(self, other: Box) -> bool:
        return all(a.contains(b) for a, b in zip(self.spans, other.spans, strict=True))


def hull(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them."""
    starts = zip(*(box.start for box in boxes), strict=True)
    stops = zip(*(box.stop for box in boxes), strict=True)
    return Box.between([min(axis) for axis in starts], [max(axis) for axis in stops])


@dataclass(frozen=True, slots=True)
class Reach:
    """A footprint on one axis, in voxels."""

    low: int
    high: int
    shrink_low: int
    shrink_high: int
    stride: int

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise GeometryError(f"a stride is at least 1, got {self.stride}")
        if self.low < self.shrink_low or self.high < self.shrink_high:
            raise GeometryError(f"the context ({self.low}, {self.high}) is smaller than what the model drops "
                                f"({self.shrink_low}, {self.shrink_high})")

    @property
    def smallest(self) -> int:
        """The smallest legal tile: its core is one stride."""
        return self.low + self.high + self.stride

    def core(self, tile: int) -> int:
        return max(0, (tile - self.low - self.high) // self.stride * self.stride)

    def admits(self, tile: int) -> bool:
        return tile >= self.smallest and self.in_phase(tile)

    def in_phase(self, size: int) -> bool:
        """Whether no pooling floors or ceils at this input size."""
        return (size - self.low - self.high) % self.stride == 0

    def covering(self, core: int) -> int:
        """The smallest legal tile whose core has at least that many voxels."""
        return self.low + self.high + max(1, -(-core // self.stride)) * self.stride

    def nearest(self, tile: int) -> tuple[int, int]:
        """The legal tiles at or below and at or above; the smallest one where there is none below."""
        below = max(self.smallest, self.low + self.high + self.core(tile))
        return below, (below if below >= tile else below + self.stride)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one output voxel depends on, per axis (z, y, x), in voxels.

    Parameters
    ----------
    low, high
        Context before and after a stride-aligned core: 92 and 96 for the valid U-Net of depth 4.
    shrink_low, shrink_high
        What the model itself drops at either end: 92 and 92 there, 0 for same padding.
    stride
        The shift under which the model repeats exactly (its total pooling): 16 there.

    Notes
    -----
    Legal tiles lie in one residue class of the stride, that of ``low + high``; the probe that finds a
    footprint rounds ``high`` so that this class is the one at which no pooling floors or ceils.
    """

    low: Shape
    high: Shape
    shrink_low: Shape
    shrink_high: Shape
    stride: Shape

    def __post_init__(self) -> None:
        _ = self.axes  # each Reach checks itself

    @classmethod
    def of(cls, axes: Sequence[Reach]) -> Footprint:
        return cls(*(tuple(getattr(axis, name) for axis in axes) for name in Reach.__slots__))

    @property
    def axes(self) -> tuple[Reach, ...]:
        fields = (self.low, self.high, self.shrink_low, self.shrink_high, self.stride)
        return tuple(Reach(*values) for values in zip(*fields, strict=True))

    @property
    def smallest(self) -> Shape:
        return tuple(axis.smallest for axis in self.axes)

    @property
    def flat(self) -> bool:
        """Whether slices along the first axis do not know of each other, as in a 2-D network."""
        return self.axes[0].smallest == 1

    @property
    def keeps_size(self) -> bool:
        """Whether the output is as large as the input."""
        return not any(self.shrink_low) and not any(self.shrink_high)

    def core(self, tile: Shape) -> Shape:
        """The part of a tile that may be written: 572 gives 384 for the valid U-Net of depth 4."""
        return tuple(axis.core(size) for axis, size in zip(self.axes, tile, strict=True))

    def output(self, tile: Shape) -> Shape:
        """The shape that the model returns for a tile: 572 gives 388 there."""
        return tuple(size - axis.shrink_low - axis.shrink_high for axis, size in zip(self.axes, tile, strict=True))

    def admits(self, tile: Shape) -> bool:
        """Whether a tile survives every pooling and has a core: 572 does, 570 and 188 do not."""
        return all(axis.admits(size) for axis, size in zip(self.axes, tile, strict=True))

    def nearest(self, tile: Shape) -> tuple[Shape, Shape]:
        """The legal tiles at or below and at or above, axis by axis."""
        pairs = [axis.nearest(size) for axis, size in zip(self.axes, tile, strict=True)]
        return tuple(below for below, _ in pairs), tuple(above for _, above in pairs)

    def covering(self, core: Shape) -> Shape:
        """The smallest legal tile whose core holds that shape."""
        return tuple(axis.covering(size) for axis, size in zip(self.axes, core, strict=True))


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
    whole = canvas is not None and tile == canvas.size
    core = max(block.size, 1) if whole else reach.core(tile)
    first = block.start if whole else block.start // reach.stride * reach.stride
    for start in range(first, block.stop, core):
        read = _hold(Span(start - reach.low, start - reach.low + tile), canvas)
        write = Span(start, start + core).intersect(block)
        yield _Piece(read, write, write.shift(-(read.start + reach.shrink_low)))


def _hold(read: Span, canvas: Span | None) -> Span:
    if canvas is None:
        return read
    return read.shift(max(canvas.start, min(read.start, canvas.stop - read.size)) - read.start)


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


@dataclass(frozen=True, slots=True)
class Grid(Sequence[Box]):
    """The blocks of a region, laid from its start, the last ones cut at its end; made on demand."""

    region: Box
    block: Shape

    def __post_init__(self) -> None:
        if min(self.block) < 1:
            raise GeometryError(f"a block has at least one voxel on every axis, got {self.block}")

    @property
    def counts(self) -> Shape:
        return tuple(-(-size // step) for size, step in zip(self.region.shape, self.block, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    @overload
    def __getitem__(self, index: int) -> Box: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Box]: ...
    def __getitem__(self, index: int | slice) -> Box | Sequence[Box]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = []
        for count, step, span in zip(self.counts[::-1], self.block[::-1], self.region.spans[::-1], strict=True):
            index, place = divmod(index, count)
            start.append(span.start + place * step)
        start.reverse()
        stop = [a + step for a, step in zip(start, self.block, strict=True)]
        return Box.between(start, stop).intersect(self.region)
