"""In which order blocks are visited, so that chunks that they share are decoded once and need not be kept for long.

::

    strip of 2 x 3 blocks          visited strip by strip, z before y before x inside
    [ 0 | 1 | 2 ][ 6 | 7 ]         chunks that 0 shares with 1 are kept for a moment, those that it shares with 3 for a
    [ 3 | 4 | 5 ][ 8 | 9 ]         row of the strip; those that 2 shares with 6 are decoded twice

The longer a strip, the less is decoded twice and the more must be kept. Order and cache change no result, and stand
in no fingerprint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product

import numpy as np

from tiler.geometry import Shape, Span

ENOUGH = 1.05
"""Chunks that are decoded as often as that on average are decoded once, for all that it costs."""

PARTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64, 128, 512, 2048)
"""In how many strips an axis is cut."""

SPARED = 1.02
"""A cache that decodes this much more than the best one may be smaller."""


@dataclass(frozen=True, slots=True)
class Visit:
    """How the blocks of a plan are visited.

    Parameters
    ----------
    strip
        Blocks of a strip, on each axis.
    cache
        Bytes of decoded chunks to keep; 0 for none.
    memory
        Bytes that this takes, with what is being taken apart into chunks.
    decoded
        Voxels that are decoded with it, of one channel.
    decodes
        How often a chunk is decoded, on average.
    """

    strip: Shape
    cache: int
    memory: int
    decoded: int
    decodes: float


def in_strips(counts: Shape, strip: Shape) -> Iterator[int]:
    """Indices of a grid with so many blocks on each axis, strip by strip."""
    corners = product(*(range(0, count, step) for count, step in zip(counts, strip, strict=True)))
    for corner in corners:
        inside = (range(first, min(first + step, count)) for first, step, count in
                  zip(corner, strip, counts, strict=True))
        for cell in product(*inside):
            index = 0
            for place, count in zip(cell, counts, strict=True):
                index = index * count + place
            yield index


class AxisChunks:
    """Spans that the blocks read along one axis, rounded out to whole chunks.

    Parameters
    ----------
    needed
        Span that each block reads, in voxels.
    unit, size
        Length of a chunk and of the volume, in voxels.
    """

    def __init__(self, needed: Sequence[Span], unit: int, size: int) -> None:
        self._needed = needed
        starts, stops = np.array([(span.start, span.stop) for span in needed]).T
        self._starts, self._stops = starts // unit * unit, np.minimum(-(-stops // unit) * unit, size)
        self.window = int((self._stops - self._starts).max())
        shared = np.minimum(self._stops[1:], self._stops[:-1]) - np.maximum(self._starts[1:], self._starts[:-1])
        self.shared = int(shared.max(initial=0))

    def successors(self, length: int) -> dict[Span, int | None]:
        """Where the window begins that follows each one in a strip of so many blocks; None for the last."""
        following = [*self._starts[1:].tolist(), None]
        return {span: None if (number + 1) % length == 0 else start
                for number, (span, start) in enumerate(zip(self._needed, following, strict=True))}

    @cached_property
    def whole(self) -> int:
        return self.strips(len(self._needed))[0]

    @cache  # noqa: B019  it lives as long as the planning of one run
    def strips(self, length: int) -> tuple[int, int]:
        """Voxels decoded by strips of ``length`` blocks: by all strips together, and by the longest one."""
        first = np.arange(0, len(self._needed), length)
        sizes = np.maximum.reduceat(self._stops, first) - np.minimum.reduceat(self._starts, first)
        return int(sizes.sum()), int(sizes.max())

    @property
    def lengths(self) -> list[int]:
        """Strips that are worth trying: even shares of all blocks; one block where they share no chunk."""
        count = len(self._needed)
        if self.strips(1)[0] == self.whole:
            return [1]
        return sorted({-(-count // parts) for parts in PARTS if parts <= count} | {1})


def best_visit(axes: Sequence[AxisChunks], voxel: int, budget: int, readers: int) -> Visit:
    """The smallest cache with which about as little is decoded as with any that fits.

    Parameters
    ----------
    axes
        One for each axis.
    voxel
        Bytes of all channels of a voxel.
    budget
        Bytes that the cache may take.
    readers
        Threads that read; each takes one window apart, and holds chunks of it that no other needs.
    """
    whole = math.prod(axis.whole for axis in axes)
    ones = (1,) * len(axes)
    plain = math.prod(axis.strips(1)[0] for axis in axes)
    visits = [Visit(ones, 0, 0, plain, plain / whole)]
    window = math.prod(axis.window for axis in axes) * voxel
    for strip in product(*(axis.lengths for axis in axes)):
        found = [axis.strips(length) for axis, length in zip(axes, strip, strict=True)]
        kept = _to_keep(axes, [longest for _, longest in found], strip, readers) * voxel
        memory = kept + readers * window
        if strip != ones and memory <= budget:
            decoded = math.prod(total for total, _ in found)
            visits.append(Visit(strip, kept, memory, decoded, decoded / whole))
    bound = max(ENOUGH, SPARED * min(visit.decodes for visit in visits))
    return min((visit for visit in visits if visit.decodes <= bound), key=lambda visit: (visit.cache, visit.decoded))


def _to_keep(axes: Sequence[AxisChunks], strips: Sequence[int], lengths: Shape, readers: int) -> int:
    """Voxels of chunks that are needed again later, at most, and of the windows under way.

    What two layers of a strip share is kept for as long as a layer takes: for all of it where some of the next layer
    is visited already, hence one window more.
    """
    kept = readers * math.prod(axis.window for axis in axes)
    for number, (axis, length) in enumerate(zip(axes, lengths, strict=True)):
        if length > 1:
            inner = zip(axes[number + 1 :], strips[number + 1 :], lengths[number + 1 :], strict=True)
            layer = math.prod(longest + (other.window if count > 1 else 0) for other, longest, count in inner)
            kept += math.prod(other.window for other in axes[:number]) * axis.shared * layer
    return kept
