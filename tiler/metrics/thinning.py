"""Thinning of membranes by the watershed by immersion, which the ISBI-2012 evaluation applies to proposals.

The result is not a skeleton: objects grow into the membrane until they meet, and the dams left between them can be
thicker than one pixel, or incomplete. `skimage.segmentation.watershed` draws different dams.

References
----------
Vincent and Soille, Watersheds in digital spaces (1991), 10.1109/34.87344; used for scoring by
Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for connectomics (2015),
10.3389/fnana.2015.00142.
"""

from __future__ import annotations

import numpy as np

from tiler.metrics.jit import compiled
from tiler.metrics.labelling import Labels, label_objects
from tiler.ports import Array

DAM, BLACK, QUEUED, OUTSIDE = 0, -1, -2, -3


def thin(image: Array) -> tuple[Labels, int]:
    """Grow the objects of a binary slice until they meet.

    Parameters
    ----------
    image
        ``(y, x)``; non-zero is object, zero is membrane.

    Returns
    -------
    basins
        ``(y, x)`` int32 in Fortran order: 0 for dams, basins numbered by the first pixel of their object in
        column-major order. All 1 for a slice without objects.
    count
        Number of basins.
    """
    return thin_objects(*label_objects(image))


def thin_objects(objects: Labels, count: int) -> tuple[Labels, int]:
    """Thin a slice whose objects are already labelled by `label_objects`; see `thin`."""
    if count == 0:
        return np.ones_like(objects), 1
    padded = np.full((objects.shape[1] + 2, objects.shape[0] + 2), OUTSIDE, np.int32)
    padded[1:-1, 1:-1] = objects.T
    _flood(padded.reshape(-1), padded.shape[1])
    return np.ascontiguousarray(padded[1:-1, 1:-1]).T, count


@compiled
def _shores(state: Labels, stride: int, queue: Labels) -> int:
    """Mark the black pixels of a padded slice, queue those that touch a basin, and return their number."""
    last = 0
    for pixel in range(state.size):
        if state[pixel] == 0:
            state[pixel] = BLACK
            # Black neighbours are BLACK, QUEUED or, not visited yet, 0; only basins are positive.
            if max(state[pixel - stride], state[pixel - 1], state[pixel + stride], state[pixel + 1]) > 0:
                state[pixel] = QUEUED
                queue[last] = pixel
                last += 1
    return last


@compiled
def _flood(state: Labels, stride: int) -> None:
    """Flood the black pixels of a padded slice in place; memory order is column-major.

    A black pixel is BLACK, then QUEUED, and in the end DAM or the number of a basin.
    """
    queue = np.empty(state.size, np.int32)
    first, last = 0, _shores(state, stride, queue)
    while first < last:
        pixel = queue[first]
        first += 1
        yields = False  # whether the pixel became a dam only by touching a dam: a basin may still claim it
        for step in (-stride, -1, stride, 1):  # left, up, right, down: the prescribed order
            there = state[pixel + step]
            here = state[pixel]
            if there > 0:
                if here == QUEUED or (here == DAM and yields):
                    state[pixel] = there
                elif here != there:
                    state[pixel] = DAM
                    yields = False
            elif there == DAM and here == QUEUED:
                state[pixel] = DAM
                yields = True
            elif there == BLACK:
                state[pixel + step] = QUEUED
                queue[last] = pixel + step
                last += 1
