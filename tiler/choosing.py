"""Which tile and which block: the cheapest that fit into memory.

The cost of a plan is that of its forward passes, of calling the network once a tile, and of decoding what is
read. A larger tile wastes less on context and takes more memory; the largest that fits is seldom needed, so
that of all tiles within 1 % of the cheapest the smallest is taken. No tile is larger than the region needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property

from tiler.errors import MemoryBudgetError
from tiler.geometry import Box, Footprint, Grid, Reach, Shape, Span, hull, tiles_of
from tiler.mirror import mirrored_indices
from tiler.ports import Cost, Predictor, Source

AHEAD, BEHIND = 2, 2
"""Windows read ahead of the model and results not yet written, at most."""

CORES = sorted({16 * round(2 ** (quarter / 4)) for quarter in range(33)})
"""Cores that are tried, from 16 to 4096, four to an octave."""

CALL_FLOPS = 2e7
DECODE_FLOPS = 50.0
"""What a call of the network and a decoded voxel cost beside the arithmetic, in operations that take as long."""

LIBRARIES = 64 << 20
"""Memory of codecs, their threads and the levels of a pyramid, which no plan sees; measured: 15 to 60 MiB."""

CODECS = 10
"""Chunks that zarr encodes or decodes at once."""

BLOCK_BYTES = 32 << 20
BLOCK_SIDE = 512
EVEN = 16
CHUNK_SIDES = {True: (1, 512, 512), False: (16, 256, 256)}
"""By whether a block is one slice thick."""

BATCH_VOXELS = 1 << 19
SLACK = 1.01
MB = 10**6


@dataclass(frozen=True, slots=True)
class Choice:
    """A tile, the blocks it is laid in, and how many of it go to the model at once."""

    tile: Shape
    block: Shape
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Budget:
    """Memory that a run may take, and what the process has taken already, in bytes."""

    bytes: int
    used: int

    @property
    def left(self) -> int:
        return self.bytes - self.used


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the blocks of a plan take together.

    Parameters
    ----------
    tiles
        How many there are.
    read
        Voxels of the volume that are read; context that blocks share is counted as often as it is read.
    decoded
        The same, in whole chunks.
    """

    tiles: int
    read: int
    decoded: int


@dataclass(frozen=True, eq=False)
class Workload:
    """A volume, a network and a region of interest: what tiles and blocks are chosen for."""

    source: Source
    predictor: Predictor
    region: Box
    canvas: Box | None

    @property
    def canvas_shape(self) -> Shape | tuple[None, ...]:
        return (None,) * len(self.region.spans) if self.canvas is None else self.canvas.shape

    def cost(self, tile: Shape, batch: int = 1) -> Cost:
        return self.predictor.cost(tile, batch)

    def bytes(self, choice: Choice) -> int:
        """Memory on top of the process: windows ahead, results behind, one batch in the model, chunks in codecs."""
        source, predictor = self.source, self.predictor
        block = tuple(map(min, choice.block, self.region.shape))
        window = tuple(map(self._window, block, choice.tile, predictor.footprint.axes, self.canvas_shape))
        voxel_in, voxel_out = source.shape[0] * source.dtype.itemsize, _voxel_out(predictor)
        # One window more is being mirrored while the others wait, one result more is being compressed.
        return ((AHEAD + 2) * math.prod(window) * voxel_in + (BEHIND + 2) * math.prod(block) * voxel_out
                + choice.batch * math.prod(choice.tile) * voxel_in + self.cost(choice.tile, choice.batch).bytes
                + _in_codecs(window, source.read_unit) * voxel_in
                + _in_codecs(block, chunk_for(choice.block, self.region.shape)) * voxel_out + LIBRARIES)

    @staticmethod
    def _window(block: int, tile: int, reach: Reach, full: int | None) -> int:
        """Length of the hull of a block's tiles, wherever the block begins."""
        if tile == full:
            return tile
        core = reach.core(tile)
        return (-(-(block + reach.stride - 1) // core) - 1) * core + tile

    def batch_for(self, tile: Shape, block: Shape, budget: Budget) -> int:
        """As many tiles of a block as make a forward pass worth its overhead, and fit."""
        a_block = -(-self.traffic(tile, block).tiles // len(Grid(self.region, block)))
        batch = max(1, min(a_block, BATCH_VOXELS // math.prod(tile)))
        while batch > 1 and self.bytes(Choice(tile, block, batch)) > budget.left:
            batch //= 2
        return batch

    def effort(self, choice: Choice) -> float:
        """What a choice costs, in floating-point operations or what takes as long."""
        traffic = self.traffic(choice.tile, choice.block)
        return (traffic.tiles * (self.cost(choice.tile).flops + CALL_FLOPS)
                + traffic.decoded * self.source.shape[0] * DECODE_FLOPS)

    def traffic(self, tile: Shape, block: Shape) -> Traffic:
        """All blocks together; along each axis the blocks are counted on their own, and the axes multiplied."""
        reaches = self.predictor.footprint.axes
        axes = [self._axis_traffic(*args) for args in zip(range(len(reaches)), reaches, tile, block, strict=True)]
        return Traffic(*(math.prod(getattr(axis, name) for axis in axes) for name in Traffic.__slots__))

    @cache  # noqa: B019  a workload lives as long as the planning of one run
    def _axis_traffic(self, axis: int, reach: Reach, tile: int, block: int) -> Traffic:
        canvas = None if self.canvas is None else Box((self.canvas.spans[axis],))
        size, unit, footprint = self.source.shape[1 + axis], self.source.read_unit[axis], Footprint.of([reach])
        tiles = read = decoded = 0
        for span in Grid(Box((self.region.spans[axis],)), (block,)):
            pieces = tiles_of(span, (tile,), footprint, canvas)
            needed = _inside(hull([piece.read for piece in pieces]).spans[0], size)
            tiles, read = tiles + len(pieces), read + needed.size
            decoded += min(-(-needed.stop // unit) * unit, size) - needed.start // unit * unit
        return Traffic(tiles, read, decoded)

    @cached_property
    def _whole(self) -> Shape:
        if self.canvas is not None and self.region.shape == self.source.shape[1:]:
            return self.canvas.shape
        return self.predictor.footprint.covering(self.region.shape)

    def whole_pass(self) -> float:
        """FLOPs of one pass over the region, context included: what no tiling could save.

        Slices that do not know of each other cost the same, so one of them stands for all.
        """
        if not self.predictor.footprint.flat:
            return self.cost(self._whole).flops
        return self.cost((1, *self._whole[1:])).flops * self._whole[0]


def best_tile(load: Workload, block: Shape | None, batch: int | None, budget: Budget) -> Shape:
    """The smallest tile within 1 % of the cheapest that fits into a budget.

    Raises
    ------
    MemoryBudgetError
        If none fits; the message says the least that would do.
    """
    choices = [Choice(tile, block or block_for(load, tile), batch or 1) for tile in _candidates(load)]
    needs = {choice: load.bytes(choice) for choice in choices}
    fitting = [choice for choice in choices if needs[choice] <= budget.left]
    if not fitting:
        least = min(choices, key=needs.__getitem__)
        raise MemoryBudgetError(
            f"a memory budget of {budget.bytes // MB} MB is too small: the least that would do is "
            f"{(budget.used + needs[least]) // MB + 1} MB, with tile {spell(least.tile)} (--memory)")
    efforts = {choice: load.effort(choice) for choice in fitting}
    bound = SLACK * min(efforts.values())
    return min((choice for choice in fitting if efforts[choice] <= bound), key=needs.__getitem__).tile


def _candidates(load: Workload) -> list[Shape]:
    """Tiles of growing size whose cores divide the region evenly, up to one tile for all of it."""
    footprint = load.predictor.footprint
    tiles: dict[Shape, None] = {}
    for core in CORES:
        cores = [_share(size, core) for size in load.region.shape]
        if footprint.flat:
            cores[0] = 1
        tiles[tile_on_canvas(footprint.covering(tuple(cores)), load.canvas)] = None
    return list(tiles)


def _share(size: int, core: int) -> int:
    """An even share of an axis of about ``core`` voxels; large ones so that blocks have handsome divisors."""
    share = math.ceil(size / math.ceil(size / core))
    return min(size, math.ceil(share / EVEN) * EVEN) if share > BLOCK_SIDE // 4 else share


def _inside(span: Span, size: int) -> Span:
    """What of a volume's axis is read to mirror a span of the canvas."""
    if Span(0, size).contains(span):
        return span
    places = mirrored_indices(span, size)
    return Span(int(places.min()), int(places.max()) + 1)


def _in_codecs(box: Shape, chunk: Shape) -> int:
    """Voxels of the chunks that are decoded or encoded at once for a box."""
    touched = math.prod(-(-size // side) + 1 for size, side in zip(box, chunk, strict=True))
    return 0 if math.prod(chunk) == 1 else min(CODECS, touched) * math.prod(chunk)


def _voxel_out(predictor: Predictor) -> int:
    """Bytes of the result at one voxel."""
    return len(predictor.classes) * predictor.dtype.itemsize


def spell(shape: Shape) -> str:
    return "x".join(map(str, shape))


def tile_on_canvas(tile: Shape, canvas: Box | None) -> Shape:
    """A tile is never larger than a canvas that ends."""
    return tile if canvas is None else tuple(map(min, tile, canvas.shape))


def block_for(load: Workload, tile: Shape) -> Shape:
    """A block of whole cores: at least half a thousand voxels wide, as deep as what is decoded at once."""
    footprint, depth = load.predictor.footprint, load.source.read_unit[0]
    wanted = (depth if footprint.flat else BLOCK_SIDE, BLOCK_SIDE, BLOCK_SIDE)
    sides = []
    for size, axis, full, length, side in zip(tile, footprint.axes, load.canvas_shape, load.region.shape, wanted,
                                              strict=True):
        core = length if size == full else axis.core(size)
        sides.append(core * max(1, min(side, length) // core))
    if footprint.flat:
        sides[0] = max(1, min(sides[0], BLOCK_BYTES // (_voxel_out(load.predictor) * sides[1] * sides[2])))
    return tuple(sides)


def chunk_for(block: Shape, region: Shape) -> Shape:
    """Chunks that are pleasant to open in a viewer and divide a block; any will do where one block is all there is."""
    limits = CHUNK_SIDES[block[0] == 1]
    return tuple(min(limit, length) if length <= side else _divisor(side, limit)
                 for side, limit, length in zip(block, limits, region, strict=True))


def _divisor(size: int, limit: int) -> int:
    """The largest divisor up to the limit; the size itself where the divisors are too small to be of use."""
    best = max(d for d in range(1, min(size, limit) + 1) if size % d == 0)
    return best if best * 8 >= min(size, limit) else size
