"""Order in which blocks are visited, so that shared chunks are decoded once and are soon released.

::

    strip of 2 x 3 blocks          visited strip by strip, z before y before x inside
    [ 0 | 1 | 2 ][ 6 | 7 ]         chunks that 0 shares with 1 are kept for a moment, those that it shares with 3 for a
    [ 3 | 4 | 5 ][ 8 | 9 ]         row of the strip; those that 2 shares with 6 are decoded twice

Longer strips decode fewer chunks twice and keep more chunks in memory. Order and cache do not change any result and
are not part of the fingerprint.
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
"""Mean number of decodings per chunk up to which chunks count as decoded once."""

PARTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64, 128, 512, 2048)
"""Numbers of strips into which an axis may be cut."""

SPARED = 1.02
"""Factor by which a smaller cache may decode more than the best one."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Order of the blocks of a plan, and its cache.

    Parameters
    ----------
    strip
        Number of blocks of a strip on each axis.
    cache
        Bytes of decoded chunks to keep; 0 for none.
    memory
        Memory of the cache in bytes, including windows that are being cut into chunks.
    decoded
        Number of decoded voxels of one channel.
    decodes
        Mean number of times that a chunk is decoded.
    """

    strip: Shape
    cache: int
    memory: int
    decoded: int
    decodes: float


def in_strips(counts: Shape, strip: Shape) -> Iterator[int]:
    """Indices of a grid with ``counts`` blocks on each axis, strip by strip."""
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
        """Start of the window that follows each window, in strips of ``length`` blocks; None for the last one."""
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
        """Lengths of strips to try: even shares of all blocks; one block if blocks share no chunk."""
        count = len(self._needed)
        if self.strips(1)[0] == self.whole:
            return [1]
        return sorted({-(-count // parts) for parts in PARTS if parts <= count} | {1})


def best_visit(axes: Sequence[AxisChunks], voxel: int, budget: int, readers: int) -> Visit:
    """The smallest cache that decodes about as little as the best one that fits.

    Parameters
    ----------
    axes
        Chunks along each axis.
    voxel
        Bytes of all channels of a voxel.
    budget
        Bytes that the cache may take.
    readers
        Number of reading threads; each cuts one window into chunks and holds those that no other window needs.
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
    """Largest number of voxels in chunks that are needed again, and in the current windows.

    Chunks shared by two layers of a strip are kept while a layer is visited. While the next layer begins, the whole
    layer is still kept, hence one more window.
    """
    kept = readers * math.prod(axis.window for axis in axes)
    for number, (axis, length) in enumerate(zip(axes, lengths, strict=True)):
        if length > 1:
            inner = zip(axes[number + 1 :], strips[number + 1 :], lengths[number + 1 :], strict=True)
            layer = math.prod(longest + (other.window if count > 1 else 0) for other, longest, count in inner)
            kept += math.prod(other.window for other in axes[:number]) * axis.shared * layer
    return kept
