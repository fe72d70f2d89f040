"""Components that touch across the faces, edges and corners of neighbouring blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from tiler.geometry import Shape
from tiler.objects.connectivity import Connectivity
from tiler.ports import Array

AXES = "zyx"
Pairs = npt.NDArray[np.int64]


def faces_of(ids: Array, flat: bool) -> dict[str, Array]:
    """Outermost planes of a block's components, in the smallest type: ``z0`` is the first along z, ``z1`` the last.

    Parameters
    ----------
    ids
        ``(z, y, x)`` components of the block.
    flat
        Whether sections stay separate; planes along z then join nothing and are left out.
    """
    small = ids.astype(np.min_scalar_type(int(ids.max(initial=0))))
    return {f"{AXES[axis]}{side}": np.take(small, (0, -1)[side], axis)
            for axis in range(flat, 3) for side in (0, 1)}


def earlier(connectivity: Connectivity) -> Iterator[Shape]:
    """Directions ``(z, y, x)`` to neighbouring blocks, such that every pair of touching blocks occurs once."""
    return (step for step in connectivity.steps if step < (0, 0, 0))


def touching(here: Mapping[str, Array], there: Mapping[str, Array], direction: Shape,
             connectivity: Connectivity) -> Pairs:
    """``(2, n)`` int64: distinct pairs of touching numbers, of a block and of its neighbour.

    Parameters
    ----------
    here, there
        Faces of both.
    direction
        ``(z, y, x)`` from the block to the neighbour, -1, 0 or 1 each.
    connectivity
        Voxels that count as neighbours.
    """
    ours, theirs = _border(here, direction), _border(there, tuple(-step for step in direction))
    steps = (step for step in connectivity.steps
             if all(step[axis] == way for axis, way in enumerate(direction) if way))
    keys = [_keys(ours, theirs, step, direction) for step in steps]
    found = np.unique(np.concatenate(keys))
    return np.stack([found >> np.uint64(32), found & np.uint64(2**32 - 1)]).astype(np.int64)


def _border(faces: Mapping[str, Array], direction: Shape) -> Array:
    """(z, y, x) voxels of a block nearest to its neighbour: a plane, a line or a single voxel."""
    axis = next(axis for axis, way in enumerate(direction) if way)
    plane = np.expand_dims(faces[f"{AXES[axis]}{int(direction[axis] > 0)}"], axis)
    index = tuple(slice(None) if not way or other == axis else slice(-1, None) if way > 0 else slice(0, 1)
                  for other, way in enumerate(direction))
    return plane[index]


def _keys(ours: Array, theirs: Array, step: Shape, direction: Shape) -> npt.NDArray[np.uint64]:
    """``(n,)``: one number for each pair of components whose voxels are one step apart."""
    ways = [0 if way else one for one, way in zip(step, direction, strict=True)]
    first = ours[tuple(slice(max(0, -way), min(0, -way) or None) for way in ways)].astype(np.uint64)
    second = theirs[tuple(slice(max(0, way), min(0, way) or None) for way in ways)].astype(np.uint64)
    both = (first > 0) & (second > 0)
    return np.unique((first[both] << np.uint64(32)) | second[both])


def neighbours_of(index: int, grid: Shape, connectivity: Connectivity) -> Iterator[tuple[Shape, int]]:
    """Earlier neighbours of a block in a raster-ordered grid, each with its direction."""
    place = np.unravel_index(index, grid)
    for direction in earlier(connectivity):
        other = [int(at) + way for at, way in zip(place, direction, strict=True)]
        if all(0 <= at < size for at, size in zip(other, grid, strict=True)):
            yield direction, int(np.ravel_multi_index(other, grid))

