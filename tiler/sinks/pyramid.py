"""The levels of a multiscale image: which there are, and how each is made from the one before, piece by piece.

::

    level 0   |. .|. .|. .|. .|.       two voxels of each halved axis become one; where an odd one is left
    level 1   | . | . | . | . | .      over, it counts twice
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from tiler.geometry import Shape
from tiler.ports import Array, OutputSpec
from tiler.sinks.layout import Index, Layout

Reduction = Callable[[Sequence[Array]], Array]

SMALL_PLANE = 512
"""Voxels along y and x from which on a plane needs no coarser level: a viewer loads it at once."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of an image.

    Parameters
    ----------
    path
        Name of its array.
    shape
        Of its array.
    factors
        Voxels of level 0 that one of its own covers, along each axis of the array.
    """

    path: str
    shape: Shape
    factors: Shape


def levels_of(spec: OutputSpec, layout: Layout, *, halve_z: bool = True) -> tuple[Level, ...]:
    """All levels of an output, from the array itself to the first whose plane is small.

    y and x are halved each time; z is where its step is known to be no coarser than theirs, so that the voxels
    of a volume with thick slices become isotropic and stay so; time and channels never are.

    Parameters
    ----------
    halve_z
        False where all levels must have as many slices.
    """
    levels = [Level("0", layout.shape, (1,) * len(layout.shape))]
    while max(levels[-1].shape[-2:]) > SMALL_PLANE:
        finer = levels[-1]
        steps = _steps(spec, layout, finer, halve_z)
        levels.append(Level(str(len(levels)),
                            tuple(-(-size // step) for size, step in zip(finer.shape, steps, strict=True)),
                            tuple(factor * step for factor, step in zip(finer.factors, steps, strict=True))))
    return tuple(levels)


def bytes_of(levels: Sequence[Level], spec: OutputSpec) -> int:
    """Of all voxels of some levels, before compression."""
    return sum(math.prod(level.shape) for level in levels) * np.dtype(spec.dtype).itemsize


def levels_by(layout: Layout, factors: Sequence[Shape]) -> tuple[Level, ...]:
    """The levels of an output that cover so many voxels of level 0 each, along each axis of the array."""
    shapes = [tuple(-(-size // step) for size, step in zip(layout.shape, each, strict=True)) for each in factors]
    return tuple(Level(str(number), *pair) for number, pair in enumerate(zip(shapes, factors, strict=True)))


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


def method_of(kind: str) -> str:
    """``"mean"`` for probabilities; ``"mode"``, the commonest value, where values are names."""
    return "mean" if kind == "probabilities" else "mode"


def fill_level(source: Any, target: Any, steps: Shape, kind: str) -> Iterator[Index]:
    """Make a level from the one before; memory holds one write unit of it and what one chunk of it is made from.

    Parameters
    ----------
    source, target
        zarr arrays of the finer and of the coarser level.
    steps
        Voxels of the finer level that become one, along each axis.
    kind
        Of the output.

    Yields
    ------
    tuple of slice
        What has been written: whole shards, or chunks where there are none.
    """
    reduce: Reduction = {"mean": mean_of, "mode": mode_of}[method_of(kind)]
    for unit in cells(tuple(slice(0, size) for size in target.shape), target.shards or target.chunks):
        out = np.empty([part.stop - part.start for part in unit], target.dtype)
        for piece in cells(unit, target.chunks):
            finer = tuple(slice(part.start * step, min(part.stop * step, size))
                          for part, step, size in zip(piece, steps, source.shape, strict=True))
            inside = tuple(slice(part.start - whole.start, part.stop - whole.start)
                           for part, whole in zip(piece, unit, strict=True))
            out[inside] = reduced(np.asarray(source[finer]), steps, reduce)
        target[unit] = out
        yield unit


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
    """Of a slice of an array."""
    return math.prod(part.stop - part.start for part in index)


def reduced(values: Array, steps: Shape, reduce: Reduction) -> Array:
    """Every group of ``steps`` voxels as one; what is missing from the last groups is repeated from the face."""
    padding = [(0, -size % step) for size, step in zip(values.shape, steps, strict=True)]
    full = np.pad(values, padding, mode="edge") if any(after for _, after in padding) else values
    corners = product(*(range(step) for step in steps))
    return reduce([full[tuple(slice(at, None, step) for at, step in zip(corner, steps, strict=True))]
                   for corner in corners])


def mean_of(corners: Sequence[Array]) -> Array:
    """The mean in the voxels' own dtype, to the nearest integer where it is one."""
    dtype = corners[0].dtype
    exact = np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64
    total: Array = corners[0].astype(exact)
    for corner in corners[1:]:
        np.add(total, corner, out=total)
    total = total / exact(len(corners))
    return (np.rint(total) if dtype.kind in "iu" else total).astype(dtype)


def mode_of(corners: Sequence[Array]) -> Array:
    """The commonest value; of several the first in the order of the voxels."""
    best, most = corners[0].copy(), _votes(corners[0], corners)
    for corner in corners[1:]:
        votes = _votes(corner, corners)
        np.copyto(best, corner, where=votes > most)
        np.maximum(most, votes, out=most)
    return best


def _votes(value: Array, corners: Sequence[Array]) -> Array:
    votes = np.zeros(value.shape, np.uint8)
    for corner in corners:
        votes += value == corner
    return votes
