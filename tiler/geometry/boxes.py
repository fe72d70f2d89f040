"""Spans on one axis, boxes on several axes, and the grid of blocks that a box is cut into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
        """Return the common part; where the spans do not meet, an empty span at the later start."""
        start = max(self.start, other.start)
        return Span(start, max(start, min(self.stop, other.stop)))

    def contains(self, other: Span) -> bool:
        return self.start <= other.start and other.stop <= self.stop


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """Product of spans, one for each axis."""

    spans: tuple[Span, ...]

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> Box:
        """Return the box of this shape at the origin."""
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
        """Return the same box in coordinates whose origin is ``by``."""
        return self.shift([-step for step in by])

    def intersect(self, other: Box) -> Box:
        return Box(tuple(a.intersect(b) for a, b in zip(self.spans, other.spans, strict=True)))

    def contains(self, other: Box) -> bool:
        return all(a.contains(b) for a, b in zip(self.spans, other.spans, strict=True))


def hull(boxes: Sequence[Box]) -> Box:
    """Return the smallest box that contains all boxes."""
    starts = zip(*(box.start for box in boxes), strict=True)
    stops = zip(*(box.stop for box in boxes), strict=True)
    return Box.between([min(axis) for axis in starts], [max(axis) for axis in stops])


@dataclass(frozen=True, slots=True)
class Grid(Sequence[Box]):
    """Blocks of a region, laid from its start and cut at its end; a box is made when it is asked for.

    Parameters
    ----------
    region
        Box that the blocks cover, each voxel once.
    block
        Shape of a block in voxels, at least 1 on every axis.

    Raises
    ------
    GeometryError
        The block has no voxel on some axis.
    """

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
