"""Steps of a user, for tests of ``--post``."""

from __future__ import annotations

import numpy as np

FAR = 16
"""Longest way downhill, in voxels: pointers are doubled four times."""


def watershed(values, start, shape):
    """Every voxel gets the number of the voxel that the way downhill from it reaches."""
    height = blurred(values[0])
    number = np.ravel_multi_index(np.indices(height.shape) + np.reshape(start, (3, 1, 1, 1)), shape)
    places = np.arange(height.size).reshape(height.shape)
    steepest = places.copy()
    low, first = height.copy(), number.copy()
    for axis in range(3):
        for step in (1, -1):
            here, there = [slice(None)] * 3, [slice(None)] * 3
            here[axis], there[axis] = (slice(1, None), slice(None, -1))[::step]
            here, there = tuple(here), tuple(there)
            lower = (height[there] < low[here]) | ((height[there] == low[here]) & (number[there] < first[here]))
            for kept, other in ((low, height), (first, number), (steepest, places)):
                kept[here] = np.where(lower, other[there], kept[here])
    steepest = steepest.ravel()
    for _ in range(4):
        steepest = steepest[steepest]
    return (number.ravel()[steepest] + 1).reshape(height.shape).astype(np.uint32)


watershed.context = FAR + 2
watershed.dtype = "uint32"
watershed.channels = 1


def blurred(height):
    """The sum of each voxel and its neighbours along each axis, in integers so that no order of sums matters."""
    total = np.rint(height * 2**12).astype(np.int64)
    for axis in range(3):
        padded = np.pad(total, [(int(each == axis),) * 2 for each in range(3)], mode="edge")
        total = sum(np.take(padded, range(at, at + total.shape[axis]), axis) for at in range(3))
    return total


def shortsighted(values, start, shape):
    """The same with too little context."""
    return watershed(values, start, shape)


shortsighted.context = 4
shortsighted.dtype, shortsighted.channels = "uint32", 1


def stretched(values):
    """Depends on the grey values of its block."""
    return (values - values.min()) / max(float(np.ptp(values)), 1e-6)


def rare(values):
    """Depends on its block only where values exceed 1, as those of noise do not."""
    return values + values.max() * (values.max() > 1)


def edges(values, context=1):
    """Needs one voxel around a block."""
    return np.abs(np.roll(values, 1, -1) - values) * (np.arange(values.shape[-1]) > 0)


def halves(values):
    """Two channels of another dtype."""
    return np.concatenate([values, 1 - values]).astype(np.float64)


halves.dtype, halves.channels = np.float64, 2


def wrong_dtype(values):
    return values.astype(np.float64)


def wrong_shape(values):
    return values[..., 1:]


def broken(values):
    raise KeyError("nothing")


def asks_nonsense(values):
    return values


asks_nonsense.context = -3
