"""Compiled shortcuts for objects of which a volume may hold many: distances in small boxes, and a count of peaks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tiler.metrics.jit import compiled

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
SMALL = 256
"""Voxels of a box up to which looking at all pairs of voxels is faster than a distance transform."""


@compiled
def small_distances(padded: Mask, sampling: Floats) -> Floats:
    """``(z, y, x)``: distance of each voxel of an object to the nearest one outside of it, by looking at all pairs.

    Parameters
    ----------
    padded
        ``(z, y, x)``; at least one voxel is outside.
    sampling
        ``(3,)``: sides of a voxel.
    """
    found = np.zeros(padded.shape)
    outside = np.argwhere(~padded)
    for z, y, x in np.argwhere(padded):
        nearest = np.inf
        for place in outside:
            dz, dy, dx = (place[0] - z) * sampling[0], (place[1] - y) * sampling[1], (place[2] - x) * sampling[2]
            nearest = min(nearest, dz * dz + dy * dy + dx * dx)
        found[z, y, x] = np.sqrt(nearest)
    return found


@compiled
def has_one_peak(depth: Floats, inside: Mask, structure: Mask, height: float) -> bool:
    """Whether no second peak of an object is higher by more than ``height`` than its pass to a higher one.

    Voxels are taken in descending order and joined to neighbours that were taken before. Where two groups meet, the
    lower of their peaks has its pass.

    Parameters
    ----------
    depth, inside
        ``(z, y, x)``: the map, and the voxels of the object.
    structure
        ``(3, 3, 3)``: which voxels are neighbours.
    """
    places = np.argwhere(inside)
    values = np.empty(len(places))
    number = np.full(depth.shape, -1, np.int64)
    for index in range(len(places)):
        values[index] = depth[places[index, 0], places[index, 1], places[index, 2]]
    parent = np.arange(len(places))
    steps = np.argwhere(structure) - 1
    for index in np.argsort(-values):
        z, y, x = places[index]
        number[z, y, x] = index
        for step in steps:
            a, b, c = z + step[0], y + step[1], x + step[2]
            if not (0 <= a < depth.shape[0] and 0 <= b < depth.shape[1] and 0 <= c < depth.shape[2]):
                continue
            if number[a, b, c] < 0:
                continue
            one, other = _root(parent, index), _root(parent, number[a, b, c])
            if one == other:
                continue
            if values[one] < values[other]:
                one, other = other, one
            if values[other] - values[index] > height:
                return False
            parent[other] = one  # the root of a group is its peak
    return True


@compiled
def _root(parent: npt.NDArray[np.int64], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
