"""Chunks and shards of an output, and blocks that are whole numbers of them.

::

    block   |----------------|----------------|----------      shards and chunks divide blocks, so that no two
    shard   |-------|-------|-------|-------|-------|---       blocks write to one file; only an axis that one block
    chunk   |-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-       covers may have other chunks
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tiler.errors import AlignmentError, PlanError
from tiler.geometry import Shape

AXES = ("z", "y", "x")

CHUNK_SIDES = {True: (1, 512, 512), False: (16, 256, 256)}
"""Largest shape of a chunk, by whether the block is one slice thick."""

LEAST_SIDES = (2, 64, 64)
"""Sides of a chunk below which a power of two is no longer preferred."""

MANY_CHUNKS = 10_000
"""Number of chunks from which those of a block share one shard, because more files slow down file systems."""


@dataclass(frozen=True, slots=True)
class Grain:
    """Chunks and shards as the user chose them.

    Parameters
    ----------
    chunk, shard
        ``(z, y, x)``; None leaves the choice to the plan, and "none" as shard forbids shards.
    """

    chunk: Shape | None = None
    shard: Shape | Literal["none"] | None = None

    def __post_init__(self) -> None:
        if self.chunk is not None and isinstance(self.shard, tuple):
            for name, whole, part in zip(AXES, self.shard, self.chunk, strict=True):
                if whole % part:
                    raise AlignmentError(f"a shard of {whole} along {name} is not a whole number of chunks of {part}: "
                                         f"{_nearest(whole, part)}", option="shard")

    @property
    def unit(self) -> Shape:
        """Sides of which blocks are whole numbers; 1 where any will do."""
        if isinstance(self.shard, tuple):
            return self.shard
        return self.chunk or (1, 1, 1)

    def check(self, block: Shape, region: Shape) -> None:
        """Refuse a block that the user chose and that is not a whole number of the chosen chunks or shards.

        Raises
        ------
        AlignmentError
            The message gives the nearest blocks.
        """
        what = "shards" if isinstance(self.shard, tuple) else "chunks"
        for name, side, unit, length in zip(AXES, block, self.unit, region, strict=True):
            if side < length and side % unit:
                raise AlignmentError(f"a block of {side} along {name} is not a whole number of {what} of {unit}: "
                                     f"{_nearest(side, unit)}", option="block")

    def chunk_of(self, block: Shape, region: Shape) -> Shape:
        """The chunk for a block."""
        if self.chunk is not None:
            return self.chunk
        if isinstance(self.shard, tuple):
            return chunk_for(self.shard, tuple(max(pair) for pair in zip(self.shard, region, strict=True)))
        return chunk_for(block, region)

    def shard_of(self, block: Shape, region: Shape) -> Shape | None:
        """The shard for a block; None for none."""
        if isinstance(self.shard, tuple):
            return self.shard
        chunk = self.chunk_of(block, region)
        count = math.prod(-(-size // side) for size, side in zip(region, chunk, strict=True))
        if self.shard == "none" or count <= MANY_CHUNKS:
            return None
        return tuple(-(-side // part) * part for side, part in zip(block, chunk, strict=True))

    def aligned(self, block: Shape, core: Shape, region: Shape) -> Shape:
        """A block of about this size that is a whole number of units, and of cores if such a block is not much larger.

        Parameters
        ----------
        block, core
            ``(z, y, x)``: the block is a whole number of cores.
        """
        sides = zip(block, core, self.unit, region, strict=True)
        return tuple(_aligned(side, step, unit, length) for side, step, unit, length in sides)


OPEN = Grain()
"""Chunks and shards that the plan chooses."""


def _aligned(side: int, core: int, unit: int, length: int) -> int:
    if side % unit == 0 or side >= length:
        return side
    both = math.lcm(core, unit)
    if both <= 2 * side:
        return both * max(1, round(side / both))
    return unit * max(1, round(side / unit))


def _nearest(side: int, unit: int) -> str:
    below = side // unit * unit
    return f"{below or unit} or {(below or unit) + unit} would be"


def full_size(sizes: Shape | None, flat: bool, option: str) -> Shape | None:
    """``(z, y, x)`` from one, two or three sizes; a single one is a cube, or a square if slices are independent."""
    if sizes is None or len(sizes) == 3:
        return sizes
    if len(sizes) > 3:
        raise PlanError(f"at most three sizes are needed, got {len(sizes)}", option=option)
    if len(sizes) == 1:
        return (1 if flat else sizes[0], sizes[0], sizes[0])
    return (1, *sizes)


def chunk_for(block: Shape, region: Shape) -> Shape:
    """Chunks of a convenient size for viewers that divide a block; a single block may have any chunks."""
    limits = CHUNK_SIDES[block[0] == 1]
    return tuple(_side(*each) for each in zip(block, region, limits, LEAST_SIDES, strict=True))


def _side(block: int, region: int, limit: int, least: int) -> int:
    """One side: the largest power of two that will do, else the largest divisor of the block."""
    if block >= region:
        return region if region <= least else min(limit, 1 << (region.bit_length() - 1))
    even = min(block & -block, limit)
    return even if even >= least else _divisor(block, limit)


def is_handsome(block: Shape, region: Shape) -> bool:
    """Whether the chunks of a block are powers of two along y and x, or as long as the region."""
    chunk = chunk_for(block, region)
    return all(side & (side - 1) == 0 or side == length for side, length in zip(chunk[1:], region[1:], strict=True))


def _divisor(size: int, limit: int) -> int:
    """The largest divisor up to the limit; the size itself if all divisors are too small."""
    best = max(d for d in range(1, min(size, limit) + 1) if size % d == 0)
    return best if best * 8 >= min(size, limit) else size
