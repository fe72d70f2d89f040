"""The levels of a multiscale image: which there are, and how each is made from the one before, piece by piece.

::

    level 0   |. .|. .|. .|. .|.       two voxels of each halved axis become one; where an odd one is left
    level 1   | . | . | . | . | .      over, it counts twice
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np

from tiler.errors import SinkError
from tiler.geometry import Shape
from tiler.ports import KINDS, Array, OutputSpec
from tiler.sinks.layout import Index, Layout

Reduction = Callable[[Array], Array]
"""Makes ``shape`` of ``(n, *shape)``: the n voxels of each group, in their order."""

SMALL_PLANE = 512
"""Voxels along y and x from which on a plane needs no coarser level: a viewer loads it at once."""
AT_ONCE = 2**22
"""Voxels of the finer level that are read at once, if its chunks are not larger."""
GROUP = 2**24
"""Voxels that may become one: all of them are held."""
FEW = 8
"""Voxels of a group up to which each is counted against each."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of an image.

    Parameters
    ----------
    path
        Name of its array.
    shape
        Shape of its array.
    factors
        Voxels of level 0 that one of its own covers, along each axis of the array.
    """

    path: str
    shape: Shape
    factors: Shape


def levels_of(spec: OutputSpec, layout: Layout, *, halve_z: bool = True) -> tuple[Level, ...]:
    """All levels of an output, from the array itself to the first whose plane is small.

    Their number and factors are those of the user, if chosen.

    y and x are halved each time; z is where its step is known to be no coarser than theirs, so that the voxels
    of a volume with thick slices become isotropic and stay so; time and channels never are.

    Parameters
    ----------
    halve_z
        False where all levels must have as many slices.
    """
    levels = [Level("0", layout.shape, (1,) * len(layout.shape))]
    count = spec.storage.get("levels")
    while max(levels[-1].shape[-2:]) > SMALL_PLANE if count is None else len(levels) < count:
        finer = levels[-1]
        level = _coarser(finer, _chosen(spec, layout, finer, halve_z), str(len(levels)))
        if level.shape == finer.shape:
            if count is None:
                break
            raise SinkError(f"there are at most {len(levels)} levels, since the last of them cannot be made smaller: "
                            f"got {count}", option="levels")
        levels.append(level)
    return tuple(levels)


def _coarser(finer: Level, steps: Shape, path: str) -> Level:
    """The next level."""
    return Level(path, tuple(-(-size // step) for size, step in zip(finer.shape, steps, strict=True)),
                 tuple(factor * step for factor, step in zip(finer.factors, steps, strict=True)))


def _chosen(spec: OutputSpec, layout: Layout, finer: Level, halve_z: bool) -> Shape:
    """Voxels that become one: as the user chose, else by halving."""
    chosen = spec.storage.get("downsample")
    if chosen is None:
        return _steps(spec, layout, finer, halve_z)
    named = dict(zip("zyx", chosen, strict=True))
    steps = tuple(named.get(axis, 1) for axis in layout.axes)
    return tuple(step if size > 1 else 1 for step, size in zip(steps, finer.shape, strict=True))


def bytes_of(levels: Sequence[Level], spec: OutputSpec) -> int:
    """Bytes of all voxels of some levels, before compression."""
    return sum(math.prod(level.shape) for level in levels) * np.dtype(spec.dtype).itemsize


def levels_by(layout: Layout, factors: Sequence[Shape]) -> tuple[Level, ...]:
    """The levels of an output that cover so many voxels of level 0 each, along each axis of the array.

    Raises
    ------
    SinkError
        If one voxel of a level is made from more than can be held.
    """
    shapes = [tuple(-(-size // step) for size, step in zip(layout.shape, each, strict=True)) for each in factors]
    levels = tuple(Level(str(number), *pair) for number, pair in enumerate(zip(shapes, factors, strict=True)))
    for finer, level in pairwise(levels):
        group = within(finer.shape, steps_between(finer, level))
        if math.prod(group) > GROUP:
            raise SinkError(f"one voxel of level {level.path} covers {'x'.join(map(str, group))} of level "
                            f"{finer.path}, more than {GROUP} voxels: give the image levels between them, or choose "
                            "another .zarr", option="output")
    return levels


def steps_between(finer: Level, coarser: Level) -> Shape:
    """Voxels of one level that become one of the next, along each axis."""
    return tuple(b // a for a, b in zip(finer.factors, coarser.factors, strict=True))


def within(shape: Shape, steps: Shape) -> Shape:
    """The steps, none longer than the array."""
    return tuple(min(step, size) for step, size in zip(steps, shape, strict=True))


def _steps(spec: OutputSpec, layout: Layout, finer: Level, halve_z: bool) -> Shape:
    halved = {"y", "x", "z"} if halve_z and _z_is_fine(spec, layout, finer) else {"y", "x"}
    return tuple(2 if axis in halved and size > 1 else 1 for axis, size in zip(layout.axes, finer.shape, strict=True))


def _z_is_fine(spec: OutputSpec, layout: Layout, finer: Level) -> bool:
    """Whether halving z brings the voxels nearer to cubes: the step along z is below sqrt(2) of that along y, x."""
    if "z" not in layout.axes:
        return False
    units = dict(zip(spec.calibration.axes, spec.calibration.units, strict=True))
    if units["z"] is None or len({units[axis] for axis in "zyx"}) > 1:
        return False  # slices of unknown thickness are not mixed
    scale: tuple[float, ...] = layout.with_channels(spec.calibration.scale, 1.0)
    step = {axis: size * factor for axis, size, factor in zip(layout.axes, scale, finer.factors, strict=True)}
    return step["z"] <= math.sqrt(2) * min(step["y"], step["x"])


def fill_level(source: Any, target: Any, steps: Shape, kind: str) -> Iterator[Index]:
    """Make a level from the one before, in memory that does not grow with the steps.

    It holds one write unit of the level and `AT_ONCE` voxels of the finer one; more, where a chunk or what becomes
    one voxel has more.

    Parameters
    ----------
    source, target
        zarr arrays of the finer and of the coarser level.
    steps
        Voxels of the finer level that become one, along each axis.
    kind
        Kind of the output.

    Yields
    ------
    tuple of slice
        The part that has been written: a whole shard, or a chunk if there are no shards.
    """
    for unit, values in made_units(source, target, steps, kind):
        target[unit] = values
        yield unit


def made_units(source: Any, target: Any, steps: Shape, kind: str) -> Iterator[tuple[Index, Array]]:
    """Each write unit of a level with the values that `fill_level` gives it; nothing is written."""
    reduce: Reduction = {"mean": mean_of, "mode": mode_of}[KINDS[kind].method]
    steps = within(source.shape, steps)
    part = part_of(target.chunks, steps)
    for unit in cells(tuple(slice(0, size) for size in target.shape), target.shards or target.chunks):
        out = np.empty([side.stop - side.start for side in unit], target.dtype)
        for piece in (piece for chunk in cells(unit, target.chunks) for piece in cells(chunk, part)):
            finer = tuple(slice(side.start * step, min(side.stop * step, size))
                          for side, step, size in zip(piece, steps, source.shape, strict=True))
            inside = tuple(slice(side.start - whole.start, side.stop - whole.start)
                           for side, whole in zip(piece, unit, strict=True))
            out[inside] = reduced(np.asarray(source[finer]), steps, reduce)
        yield unit, out


def part_of(chunk: Shape, steps: Shape) -> Shape:
    """The part of a chunk that is made at once: halved until the voxels that it is made from fit into memory."""
    part, most = list(chunk), max(AT_ONCE, math.prod(chunk))  # chunks of the finer level are decoded whole anyway
    while math.prod(part) * math.prod(steps) > most and max(part) > 1:
        longest = max(range(len(part)), key=lambda axis: (part[axis] > 1, part[axis] * steps[axis]))
        part[longest] = -(-part[longest] // 2)
    return tuple(part)


def cells(whole: Index, sizes: Shape) -> Iterator[Index]:
    """The cells of a grid, cut at the end of a slice that starts on the grid."""
    ranges = [range(part.start, part.stop, size) for part, size in zip(whole, sizes, strict=True)]
    for start in product(*ranges):
        yield tuple(slice(at, min(at + size, part.stop))
                    for at, size, part in zip(start, sizes, whole, strict=True))


def count_cells(shape: Shape, sizes: Shape) -> int:
    """How many cells of a grid cover an array."""
    return math.prod(-(-length // size) for length, size in zip(shape, sizes, strict=True))


def voxels_of(index: Index) -> int:
    """Number of voxels in a slice of an array."""
    return math.prod(part.stop - part.start for part in index)


def reduced(values: Array, steps: Shape, reduce: Reduction) -> Array:
    """Every group of ``steps`` voxels as one; incomplete groups at the end repeat the voxels of the face."""
    padding = [(0, -size % step) for size, step in zip(values.shape, steps, strict=True)]
    full = np.pad(values, padding, mode="edge") if any(after for _, after in padding) else values
    coarse = tuple(size // step for size, step in zip(full.shape, steps, strict=True))
    pairs = full.reshape([each for pair in zip(coarse, steps, strict=True) for each in pair])
    inside, outside = range(1, pairs.ndim, 2), range(0, pairs.ndim, 2)
    return reduce(pairs.transpose(*inside, *outside).reshape(math.prod(steps), *coarse))


def mean_of(corners: Array) -> Array:
    """The mean along the first axis in the voxels' own dtype, to the nearest integer where it is one."""
    dtype = corners.dtype
    exact = np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64
    total: Array = corners[0].astype(exact)
    for corner in corners[1:]:
        np.add(total, corner, out=total)
    total = total / exact(len(corners))
    return (np.rint(total) if dtype.kind in "iu" else total).astype(dtype)


def mode_of(corners: Array) -> Array:
    """The commonest value along the first axis; of several the first in the order of the voxels."""
    best: Array = corners[0].copy()
    mixed = (corners != best).any(0)
    if mixed.any():  # at the faces of objects only: everywhere else all are one value
        best[mixed] = (_by_votes if len(corners) <= FEW else _by_runs)(corners[:, mixed])
    return best


def _by_votes(columns: Array) -> Array:
    """Mode of each column, by comparing each voxel with each: fast for few voxels."""
    votes = np.array([np.sum(columns == value, axis=0, dtype=np.uint8) for value in columns])  # at most FEW
    found: Array = np.take_along_axis(columns, votes.argmax(0)[None], 0)[0]
    return found


def _by_runs(columns: Array) -> Array:
    """Mode of each column, by the lengths of the runs of equal values in the sorted column."""
    rows = np.ascontiguousarray(columns.T)
    count, length = rows.shape
    order = np.argsort(rows, axis=1, kind="stable")  # a run begins with the first of its voxels
    ordered = np.take_along_axis(rows, order, 1)
    new = np.ones(rows.shape, bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=new[:, 1:])
    starts = np.flatnonzero(new)
    ranks = np.diff(starts, append=rows.size) * length - order.ravel()[starts]
    most = np.maximum.reduceat(ranks, np.searchsorted(starts, np.arange(count) * length))
    found: Array = rows[np.arange(count), -most % length]
    return found
