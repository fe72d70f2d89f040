"""Shapes of a plan that fit into memory: those that the user chose, checked, or the cheapest."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tiler.errors import AlignmentError, GeometryError, MemoryBudgetError
from tiler.geometry import Footprint, Shape
from tiler.planning.block_order import Visit
from tiler.planning.out_of_core import StoredRun, block_on_disk, check_scratch, scratch_of, staging_for, voxels_of
from tiler.planning.plan import Scratch, Settings
from tiler.planning.tile_choice import MB, best_tile, block_for, spell, tile_on_canvas
from tiler.planning.workload import Budget, Choice, Workload
from tiler.ports import Predictor

AXES = ("z", "y", "x")
ADVICE = {"tiles": "raise `memory` or lower `tile`, `block` or `batch`",
          "whole": "raise `memory`, or let every slice be resized (`resize`)",
          "stages": "raise `memory`, or average overlapping windows (`tiling=blend`)"}
"""Advice if a tile, or an input in one piece, does not fit into memory."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Shapes that fit into memory.

    Parameters
    ----------
    choice
        Tile, block and batch of the plan.
    work
        Those that its work is counted with.
    visit, peak, scratch
        Order of the blocks, memory of the process, and stored tensors of a network in stages.
    """

    choice: Choice
    work: Choice
    visit: Visit
    peak: int
    scratch: Scratch | None = None


def fit(load: Workload, settings: Settings, budget: Budget, limit: int, split: int) -> Fit:
    """Choose shapes that fit into memory, or put stored tensors on disk if they do not."""
    by_stages = load.predictor.capabilities.stager is not None
    choice = _choose(load, replace(settings, block=None) if by_stages else settings, budget)
    visit = load.visit(choice, budget)
    peak = budget.used + max(load.bytes(choice) + visit.memory, split)
    if by_stages:
        block = _full(settings.block, load.predictor.footprint, "block")
        block = None if block == choice.block else block
        staging = staging_for(load, block)
        if staging is not None:
            on_disk = block is not None or peak > budget.bytes or not load.fits_devices(choice)
            scratch = scratch_of(staging, voxels_of(load, block), on_disk)
            if not on_disk:
                return Fit(choice, choice, visit, peak, scratch)
            check_scratch(scratch, settings.scratch_size)
            stored = StoredRun(load, staging, block_on_disk(load, block))
            peak = budget.used + max(stored.memory, split)
            stored.check(peak, limit)
            return Fit(replace(choice, block=stored.block), choice, replace(visit, cache=0), peak, scratch)
    _check_fits(load, choice, peak, limit, settings)
    return Fit(choice, choice, visit, peak)


def _check_fits(load: Workload, choice: Choice, peak: int, limit: int, settings: Settings) -> None:
    """Refuse shapes that take more memory than there is, of this machine or of a device."""
    can = load.predictor.capabilities
    if peak > limit:
        advice = ADVICE["whole" if can.whole else can.execution]
        raise MemoryBudgetError(
            f"{_piece(load.predictor)} {spell(choice.tile)} with batch {choice.batch} needs {peak // MB + 1} MB, "
            f"{'the memory budget is' if settings.memory else 'there are'} {limit // MB} MB: {advice}")
    if not load.fits_devices(choice):
        raise MemoryBudgetError(
            f"{_piece(load.predictor)} {spell(choice.tile)} with batch {choice.batch} needs "
            f"{load.pass_bytes(choice) // MB + 1} MB of a device, {(load.device_memory or 0) // MB} MB are there for "
            "each thread that feeds it: lower `tile` or `batch`")


def _full(sizes: Shape | None, footprint: Footprint, option: str) -> Shape | None:
    """``(z, y, x)`` from one, two or three sizes; a missing z is one slice if slices are independent."""
    if sizes is None:
        return None
    if len(sizes) not in (1, 2, 3) or min(sizes) < 1:
        raise AlignmentError(f"one, two or three sizes of at least 1 are needed, got {spell(sizes)}",
                             option=option)
    if len(sizes) == 1:
        return (1 if footprint.flat else sizes[0], sizes[0], sizes[0])
    return (1,) * (3 - len(sizes)) + tuple(sizes)


def _piece(predictor: Predictor) -> str:
    return "an input in one piece of" if predictor.capabilities.in_one_piece else "tile"


def _choose(load: Workload, settings: Settings, budget: Budget) -> Choice:
    if load.predictor.capabilities.in_one_piece:
        return _in_one_piece(load, settings)
    block = _full(settings.block, load.predictor.footprint, "block")
    if block is not None:
        load.grain.check(block, load.region.shape)
    wanted = _full(settings.tile, load.predictor.footprint, "tile")
    tile = best_tile(load, block, settings.batch, budget) if wanted is None else _legal(wanted, load)
    block = block or block_for(load, tile)
    return Choice(tile, block, settings.batch or load.batch_for(tile, block, budget))


def _in_one_piece(load: Workload, settings: Settings) -> Choice:
    """Every network input as one tile, and the requested part of it as one block."""
    assert load.canvas is not None
    flat = load.predictor.footprint.flat
    deep = load.grain.unit[0] if flat else load.region.shape[0]
    choice = Choice(((1,) if flat else load.canvas.shape[:1]) + load.canvas.shape[1:],
                    (deep, *load.region.shape[1:]), settings.batch or 1)
    for option, given, only in (("tile", settings.tile, choice.tile), ("block", settings.block, choice.block)):
        if _full(given, load.predictor.footprint, option) not in (None, only):
            raise GeometryError(f"{spell(given or ())} was asked for, this network takes every input in one piece of "
                                f"{spell(only)}: leave it out", option=option)
    return choice


def _legal(wanted: Shape, load: Workload) -> Shape:
    """The requested tile, if the network can take it."""
    tile = tile_on_canvas(wanted, load.canvas)
    for name, size, reach, full in zip(AXES, tile, load.predictor.footprint.axes, load.canvas_shape, strict=True):
        if reach.admits(size) or size == full:
            continue
        below, above = reach.nearest(size)
        legal = (
            f"the smallest legal tile is {above}"
            if below == above
            else f"the nearest legal tiles are {below} and {above}"
        )
        why = (
            f"is out of step with the network's total pooling of {reach.stride}"
            if not reach.in_phase(size)
            else f"leaves no core: context takes {reach.low} + {reach.high}"
        )
        raise GeometryError(f"tile {size} in {name} {why}: {legal}", option="tile")
    return tile
