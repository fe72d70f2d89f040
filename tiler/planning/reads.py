"""Amount of data that a run reads: counted along each axis, then multiplied over the axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tiler.geometry import Box, Footprint, Reach, Span, Tile, reads_of, tiles_of
from tiler.geometry.mirrored import mirrored_indices


@dataclass(frozen=True, slots=True)
class Traffic:
    """Totals over all blocks of a plan.

    Parameters
    ----------
    tiles
        Number of tiles.
    read
        Number of voxels read; context that blocks share is counted every time it is read.
    decoded
        Number of voxels in the chunks that are decoded.
    """

    tiles: int
    read: int
    decoded: int

    @classmethod
    def product(cls, axes: Sequence[Traffic]) -> Traffic:
        return cls(*(math.prod(getattr(axis, name) for axis in axes) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class AxisLayout:
    """Positions of tiles on one axis of a volume.

    Parameters
    ----------
    tile, reach, canvas
        See `tiler.geometry.tiles_of`.
    size, unit
        Length of the volume and of its read unit, in voxels.
    phase
        Voxel of the volume that is the origin of the blocks.
    """

    tile: int
    reach: Reach
    canvas: Span | None
    size: int
    unit: int
    phase: int = 0

    @property
    def _held(self) -> Span | None:
        return None if self.canvas is None else self.canvas.shift(-self.phase)

    def tiles(self, block: Span) -> list[Tile]:
        canvas = None if self._held is None else Box((self._held,))
        return tiles_of(Box((block,)), (self.tile,), Footprint.of([self.reach]), canvas)

    def reads(self, block: Span) -> tuple[int, Span]:
        """Number of tiles of a block, and the hull of their reads on the canvas."""
        return reads_of(block, self.tile, self.reach, self._held)

    def traffic(self, blocks: Iterable[Span]) -> Traffic:
        tiles = read = decoded = 0
        for span in blocks:
            count, hull = self.reads(span)
            needed = self._of_volume(hull)
            tiles, read = tiles + count, read + needed.size
            decoded += min(-(-needed.stop // self.unit) * self.unit, self.size) - needed.start // self.unit * self.unit
        return Traffic(tiles, read, decoded)

    def needed(self, block: Span) -> Span:
        """Span of the volume that is read for a block."""
        return self._of_volume(self.reads(block)[1])

    def _of_volume(self, read: Span) -> Span:
        return inside(read.shift(self.phase), self.size)

    def window(self, block: int) -> int:
        """Largest length that the tiles of a block can cover, wherever the block begins."""
        if self.canvas is not None and self.tile == self.canvas.size:
            return self.tile
        core = self.reach.core(self.tile)
        return (-(-(block + self.reach.stride - 1) // core) - 1) * core + self.tile


def inside(span: Span, size: int) -> Span:
    """Span of a volume's axis that is read to fill a span of the mirrored canvas."""
    if Span(0, size).contains(span):
        return span
    if span.size >= 2 * size:  # a whole period; listing the places of a huge tile would not fit into memory
        return Span(0, size)
    places = mirrored_indices(span, size)
    return Span(int(places.min()), int(places.max()) + 1)
