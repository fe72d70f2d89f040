"""Choice of tile and block: the cheapest that fit into memory.

The cost of a plan comprises its forward passes, one call of the network per tile, and decoding. A larger tile wastes
less on context and takes more memory. The largest tile that fits is seldom needed, so the smallest tile within 1 % of
the lowest cost is chosen. No tile is larger than the region needs.
"""

from __future__ import annotations

import math

from tiler.errors import MemoryBudgetError
from tiler.geometry import Box, Shape
from tiler.planning.chunks import LEAST_SIDES, is_handsome
from tiler.planning.workload import Budget, Choice, Workload, bytes_out

CORES = sorted({16 * round(2 ** (quarter / 4)) for quarter in range(33)})
"""Sides of the cores to try, from 16 to 4096, four per octave."""

BLOCK_BYTES = 32 << 20
BLOCK_SIDE = 512
EVEN = 16
SLACK, DEARER = 1.01, 1.1
MB = 10**6


def best_tile(load: Workload, block: Shape | None, batch: int | None, budget: Budget) -> Shape:
    """The smallest tile within 1 % of the cheapest that fits into a budget.

    If that leaves no memory for chunks that blocks share, take the smallest tile within 10 % that does.

    Raises
    ------
    MemoryBudgetError
        If no tile fits; the message gives the smallest sufficient budget.
    """
    choices = [Choice(tile, block or block_for(load, tile), batch or 1) for tile in _candidates(load)]
    on_device = [choice for choice in choices if load.fits_devices(choice)]
    if not on_device:
        least = min(choices, key=load.pass_bytes)
        raise MemoryBudgetError(
            f"a device has {(load.device_memory or 0) // MB} MB for a pass, too little: the least that would do is "
            f"{load.pass_bytes(least) // MB + 1} MB, with tile {spell(least.tile)} (`device`, `batch`)")
    needs = {choice: load.bytes(choice) for choice in on_device}
    fitting = [choice for choice in on_device if needs[choice] <= budget.left]
    if not fitting:
        least = min(on_device, key=needs.__getitem__)
        raise MemoryBudgetError(
            f"a memory budget of {budget.bytes // MB} MB is too small: the least that would do is "
            f"{(budget.used + needs[least]) // MB + 1} MB, with tile {spell(least.tile)}", option="memory")
    efforts = {choice: load.effort(choice) for choice in fitting}
    least_effort = min(efforts.values())
    fitting.sort(key=needs.__getitem__)
    chosen = next(choice for choice in fitting if efforts[choice] <= SLACK * least_effort)
    near = (choice for choice in fitting if efforts[choice] <= DEARER * least_effort)
    best = next((choice for choice in (chosen, *near) if load.decodes_little(choice, budget)), chosen)
    return best.tile if block else _evened(load, best, SLACK * efforts[best], budget)


def _candidates(load: Workload) -> list[Shape]:
    """Tiles of growing size whose cores divide the region evenly, up to one tile for all of it.

    Where chunks were chosen, tiles whose cores are whole numbers of them are among these.
    """
    tiles: dict[Shape, None] = {}
    for core in CORES:
        shares = tuple(_share(size, core) for size in load.region.shape)
        tiles[_tile_of(load, shares)] = None
        if max(load.grain.unit) > 1:
            tiles[_tile_of(load, _rounded(shares, load.grain.unit, up=True))] = None
    return list(tiles)


def _tile_of(load: Workload, cores: Shape) -> Shape:
    """The tile that has these cores."""
    footprint = load.predictor.footprint
    cores = (1, *cores[1:]) if footprint.flat else cores
    return tile_on_canvas(footprint.covering(cores), load.canvas)


def _rounded(cores: Shape, units: Shape, *, up: bool) -> Shape:
    """Cores as whole numbers of units; those that are smaller than their unit stay."""
    return tuple(core if core < unit else (core + (unit - 1 if up else 0)) // unit * unit
                 for core, unit in zip(cores, units, strict=True))


def _evened(load: Workload, best: Choice, limit: float, budget: Budget) -> Shape:
    """The tile, or a similar one of the same cost whose blocks have chunks that are powers of two."""
    if max(load.grain.unit) > 1 or is_handsome(best.block, load.region.shape):
        return best.tile
    core = load.predictor.footprint.core(best.tile)
    for up in (True, False):
        tile = _tile_of(load, _rounded(core, LEAST_SIDES, up=up))
        other = Choice(tile, block_for(load, tile), best.batch)
        if is_handsome(other.block, load.region.shape) and load.fits(other, budget) and load.effort(other) <= limit:
            return tile
    return best.tile


def _share(size: int, core: int) -> int:
    """An even share of an axis of about ``core`` voxels, rounded if large so that block sizes divide well."""
    share = math.ceil(size / math.ceil(size / core))
    return min(size, math.ceil(share / EVEN) * EVEN) if share > BLOCK_SIDE // 4 else share


def block_for(load: Workload, tile: Shape) -> Shape:
    """A block of whole cores: at least 512 voxels wide, and as deep as the chunks that are decoded at once."""
    footprint, depth = load.predictor.footprint, load.source.read_unit[0]
    wanted = (depth if footprint.flat else BLOCK_SIDE, BLOCK_SIDE, BLOCK_SIDE)
    sides, cores = [], []
    for size, axis, full, length, side in zip(tile, footprint.axes, load.canvas_shape, load.region.shape, wanted,
                                              strict=True):
        core = length if size == full else axis.core(size)
        cores.append(core)
        sides.append(core * _even_count(core, max(1, min(side, length) // core), length))
    if footprint.flat:
        cores[0], sides[0] = 1, max(1, min(sides[0], BLOCK_BYTES // (bytes_out(load.predictor) * sides[1] * sides[2])))
    return load.grain.aligned(tuple(sides), tuple(cores), load.region.shape)


def _even_count(core: int, count: int, length: int) -> int:
    """Number of cores of a block: up to twice as many if chunks are powers of two then."""
    if core < LEAST_SIDES[-1] or core * count >= length:
        return count
    return next((more for more in range(count, 2 * count + 1) if core * more % LEAST_SIDES[-1] == 0), count)


def tile_on_canvas(tile: Shape, canvas: Box | None) -> Shape:
    """A tile is never larger than a canvas that ends."""
    return tile if canvas is None else tuple(map(min, tile, canvas.shape))


def spell(shape: Shape) -> str:
    return "x".join(map(str, shape))
