"""Overlapping windows and their weights, for networks that no tiling computes exactly.

On one axis::

    canvas    |------------------------------------------------------|
    windows   [=======tile=======]
                       [=======tile=======]                             one hop further: half a tile, in whole strides
                                   [=======tile=======]
                                        [=======tile=======]            the last one ends where the canvas ends
    weight    ¯¯\\    /¯¯\\   ...                                         a hat over each window, as a share of all hats

The lattice of windows depends on the canvas, not on a block, and every voxel adds its windows in the lattice's order,
so that the result does not depend on the blocks. Hats and their sums are products over the axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from tiler.geometry import Box, Shape, Span, Tile
from tiler.planning.reads import AxisLayout
from tiler.ports import Array


@dataclass(frozen=True, slots=True)
class Lattice:
    """The windows along one axis.

    Parameters
    ----------
    canvas
        Span that contains every window; its size is legal for a tile.
    tile, stride
        Length of a window, and the step of which its start is a multiple.
    shift
        Distance by which all but the outermost windows are moved, to measure the effect of their positions.
    """

    canvas: Span
    tile: int
    stride: int
    shift: int = 0

    @property
    def hop(self) -> int:
        return max(self.stride, self.tile // 2 // self.stride * self.stride)

    @property
    def starts(self) -> list[int]:
        first, last = self.canvas.start, self.canvas.stop - self.tile
        inner = range(first + (self.shift % self.hop or self.hop), last, self.hop)
        return sorted({first, *inner, last})

    def windows(self, block: Span) -> list[Span]:
        """Windows that overlap a block."""
        spans = (Span(start, start + self.tile) for start in self.starts)
        return [span for span in spans if span.start < block.stop and block.start < span.stop]

    def share(self, window: Span, part: Span) -> Array:
        """``(part.size,)`` float64: weight of a window in a part of it; the weights of all windows sum to 1."""
        total = sum(self._hat(each, part) for each in self.windows(part))
        share: Array = self._hat(window, part) / total
        return share

    def _hat(self, window: Span, part: Span) -> Array:
        places = np.arange(part.start, part.stop)
        hat: Array = np.maximum(0, np.minimum(places - window.start + 1, window.stop - places)).astype(np.float64)
        return hat


@dataclass(frozen=True, slots=True)
class BlendedAxis(AxisLayout):
    """Positions of windows on one axis of a volume."""

    def tiles(self, block: Span) -> list[Tile]:
        return [_tile((window,), (block,)) for window in self._windows(block)]

    def reads(self, block: Span) -> tuple[int, Span]:
        windows = self._windows(block)
        return len(windows), Span(min(window.start for window in windows), max(window.stop for window in windows))

    def _windows(self, block: Span) -> list[Span]:
        assert self.canvas is not None, "windows lie on a canvas that ends"
        return Lattice(self.canvas, self.tile, self.reach.stride).windows(block)

    def window(self, block: int) -> int:
        assert self.canvas is not None
        return min(self.canvas.size, block + 2 * self.tile)


@dataclass(frozen=True, slots=True)
class Windows:
    """The lattices of all axes."""

    axes: tuple[Lattice, ...]

    @classmethod
    def on(cls, canvas: Box, tile: Shape, stride: Shape, shifted: bool = False) -> Windows:
        """Lay windows as in a run, or shifted by half a hop, rounded to whole strides."""
        plain = [Lattice(*args) for args in zip(canvas.spans, tile, stride, strict=True)]
        shifts = [axis.hop // 2 // axis.stride * axis.stride if shifted else 0 for axis in plain]
        return cls(tuple(Lattice(axis.canvas, axis.tile, axis.stride, shift)
                         for axis, shift in zip(plain, shifts, strict=True)))

    @property
    def blended(self) -> bool:
        """Whether any voxel lies in more than one window."""
        return any(len(axis.starts) > 1 for axis in self.axes if axis.tile > 1)

    @property
    def movable(self) -> bool:
        """Whether shifted windows differ from unshifted ones."""
        return any(axis.shift for axis in self.axes)

    def tiles(self, block: Box) -> list[Tile]:
        """Windows that overlap a block, in the lattice's order."""
        spans = [axis.windows(span) for axis, span in zip(self.axes, block.spans, strict=True)]
        return [_tile(window, block.spans) for window in product(*spans)]

    def weight(self, tile: Tile) -> Array:
        """``(*tile.write.shape)`` float64: weight of a window in the voxels that it writes."""
        shares = [axis.share(window, part) for axis, window, part in
                  zip(self.axes, tile.read.spans, tile.write.spans, strict=True)]
        weight: Array = shares[0][:, None, None] * shares[1][:, None] * shares[2]
        return weight


def _tile(window: tuple[Span, ...], block: tuple[Span, ...]) -> Tile:
    read = Box(window)
    write = read.intersect(Box(block))
    return Tile(read, write, write.back(read.start))
