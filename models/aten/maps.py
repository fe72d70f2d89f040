"""Which box of an input a box of an operator's output needs: integers only, one axis at a time.

A *range* is half open, a *box* one range for each axis of a tensor, batch and channels included. A step sends a range
of the output *back* to the range of the input that it needs, which may reach beyond the tensor: there the operator
pads::

    a convolution of 3, padding 1, size 8      back(0, 4) = (-1, 5), clipped to (0, 5): one voxel of padding before
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tiler.models.aten.graph import Size

Range = tuple[int, int]
Ranges = tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """Output ``o`` needs ``o * stride - before`` and the ``span`` elements that follow it.

    Convolutions and poolings; with a span of 0 crops (``before`` negative), padding and strided slices.
    """

    stride: int = 1
    before: int = 0
    span: int = 0

    def back(self, low: int, high: int) -> Range:
        return low * self.stride - self.before, (high - 1) * self.stride - self.before + self.span + 1


@dataclass(frozen=True, slots=True)
class Spread:
    """A transposed convolution: input ``i`` reaches ``i * stride - before + dilation * t`` for every tap ``t``."""

    stride: int
    before: int
    dilation: int
    taps: int

    def back(self, low: int, high: int) -> Range:
        reach = self.dilation * (self.taps - 1)
        return -((reach - low - self.before) // self.stride), (high - 1 + self.before) // self.stride + 1

    def reached(self, low: int, high: int) -> Range:
        """The outputs that a range of inputs reaches."""
        start = low * self.stride - self.before
        return start, start + (high - 1 - low) * self.stride + self.dilation * (self.taps - 1) + 1


@dataclass(frozen=True, eq=False)
class Table:
    """The least and the greatest input index of every output index, for maps that no formula above covers.

    Resizes at the coordinates of the whole tensor, mirrored padding, pixel shuffles, rolls.
    """

    least: np.ndarray
    greatest: np.ndarray

    @classmethod
    def of(cls, index: np.ndarray) -> Table:
        """The map of an operator whose outputs each copy one input."""
        return cls(index, index)

    def back(self, low: int, high: int) -> Range:
        return int(self.least[low:high].min()), int(self.greatest[low:high].max()) + 1


Step = Window | Spread | Table
SAME = Window()


@dataclass(frozen=True, slots=True)
class Along:
    """An axis of an input that follows an axis of the output."""

    axis: int
    step: Step = SAME


@dataclass(frozen=True, slots=True)
class Fixed:
    """An axis of an input along which every output needs the same range."""

    start: int
    stop: int


Axis = Along | Fixed


@dataclass(frozen=True)
class Axes:
    """The part of one input that an operator needs, axis by axis.

    Parameters
    ----------
    axes
        One for each axis of the input.
    shape
        Shape of the input.
    optional
        Whether some outputs do not need this input at all, as in a concatenation.
    """

    axes: tuple[Axis, ...]
    shape: Size
    optional: bool = False

    def unclipped(self, made: Ranges) -> Ranges:
        """The box that a box of the output needs, padding included."""
        return tuple(axis.step.back(*made[axis.axis]) if isinstance(axis, Along) else (axis.start, axis.stop)
                     for axis in self.axes)

    def back(self, made: Ranges) -> Ranges | None:
        """The box that a box of the output needs, clipped to the tensor; None if it needs nothing."""
        wanted = self.unclipped(made)
        if self.optional and any(low >= size or high <= 0 for (low, high), size in
                                 zip(wanted, self.shape, strict=True)):
            return None
        return tuple(map(clipped, wanted, self.shape))

    def carried(self, image: frozenset[int]) -> set[int]:
        """The axes of the output that the given axes of the input map to."""
        return {axis.axis for number, axis in enumerate(self.axes) if number in image and isinstance(axis, Along)}


@dataclass(frozen=True)
class Reshape:
    """A view of the same elements in another shape: groups of axes are merged, split or kept.

    Parameters
    ----------
    shape, out
        Shapes of the input and of the output.
    """

    shape: Size
    out: Size

    @cached_property
    def groups(self) -> list[tuple[range, range]]:
        """Axes of the input and of the output that hold the same elements, from the left."""
        found, i, j = [], 0, 0
        while i < len(self.shape) or j < len(self.out):
            first = i, j
            own, other = math.prod(self.shape[i : i + 1]), math.prod(self.out[j : j + 1])
            i, j = min(i + 1, len(self.shape)), min(j + 1, len(self.out))
            while own != other:
                if own < other:
                    own, i = own * self.shape[i], i + 1
                else:
                    other, j = other * self.out[j], j + 1
            found.append((range(first[0], i), range(first[1], j)))
        return found

    def widened(self, made: Ranges) -> Ranges:
        """The smallest box that contains a box and whose elements are consecutive in every group."""
        found: list[Range] = []
        for _, out in self.groups:
            sizes = [self.out[axis] for axis in out]
            found += covering(sizes, *flat([made[axis] for axis in out], sizes))
        return tuple(found)

    def back(self, made: Ranges) -> Ranges | None:
        found: list[Range] = []
        for own, out in self.groups:
            span = flat([made[axis] for axis in out], [self.out[axis] for axis in out])
            found += covering([self.shape[axis] for axis in own], *span)
        return tuple(found)

    def carried(self, image: frozenset[int]) -> set[int]:
        return {axis for own, out in self.groups if not image.isdisjoint(own) for axis in out if self.out[axis] > 1}


InputMap = Axes | Reshape


def flat(ranges: Sequence[Range], sizes: Sequence[int]) -> Range:
    """From the first to the last element of a box, counted through its axes: ``2:3, 1:4`` of sizes 5, 6 is 13:16."""
    low = high = 0
    for (start, stop), size in zip(ranges, sizes, strict=True):
        low, high = low * size + start, high * size + stop - 1
    return low, high + 1


def covering(sizes: Sequence[int], low: int, high: int) -> list[Range]:
    """The smallest box of consecutive elements around a range: ``5:9`` of sizes 3, 4 is 1:3, 0:4."""
    found: list[Range] = []
    for axis, size in enumerate(sizes):
        step = math.prod(sizes[axis + 1 :])
        first, last = low // step, (high - 1) // step
        found.append((first, last + 1))
        if last > first:
            return found + [(0, rest) for rest in sizes[axis + 1 :]]
        low, high = low - first * step, high - first * step
        assert last < size
    return found


def clipped(wanted: Range, size: int) -> Range:
    """Clip a range to a tensor: one element if all of the range is padding, none if the tensor has none."""
    if not size:
        return 0, 0
    low = min(max(wanted[0], 0), size - 1)
    return low, max(low + 1, min(wanted[1], size))


def union(one: Ranges | None, other: Ranges) -> Ranges:
    """The smallest box that contains both."""
    if one is None:
        return other
    return tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))


def whole(shape: Size) -> Ranges:
    return tuple((0, size) for size in shape)


def lengths(box: Ranges) -> Size:
    return tuple(high - low for low, high in box)
