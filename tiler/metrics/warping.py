"""The warping error: differences that remain when the truth is warped without changing its topology.

Pixels of the truth are flipped towards the proposal as long as they are *simple*: flipping a simple pixel joins,
splits, creates or removes no object and no hole. Pixels that cannot be flipped are differences of topology and are
classified. The result depends on the order of the flips, which is therefore prescribed.

References
----------
Jain et al., Boundary learning by optimization with topological constraints (2010), 10.1109/CVPR.2010.5539950;
Arganda-Carreras et al. (2015), 10.3389/fnana.2015.00142.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from tiler.metrics.checks import slice_2d
from tiler.metrics.jit import compiled
from tiler.metrics.labelling import columns, label_rows
from tiler.metrics.mismatches import MismatchCounts, Pixels, classify, tally
from tiler.ports import Array

RADIUS = 20  # pixels from a mismatch within which the challenge seeks a path around a split


@dataclass(frozen=True, eq=False)
class Warping:
    """A warped truth and its remaining differences from the proposal.

    Parameters
    ----------
    warped
        ``(y, x)`` uint8, 0 and 1: the truth after warping.
    kinds
        ``(y, x)`` uint8: the map of mismatches, 0 or a value of `Mismatch`.
    pixels, clusters
        Number of mismatches of each type.
    """

    warped: Array
    kinds: Array
    pixels: MismatchCounts
    clusters: MismatchCounts

    @property
    def error(self) -> float:
        """Warping error of the slice: remaining mismatches of any type as a share of all pixels."""
        return self.pixels.total / self.kinds.size


def warp(labels: Array, proposal: Array, threshold: float = 0.5, *, mask: Array | None = None,
         radius: int = RADIUS) -> Warping:
    """Warp the truth towards a proposal and classify the remaining mismatches.

    Parameters
    ----------
    labels
        ``(y, x)``; above 0 is object.
    proposal
        ``(y, x)``, real; P(object), or any map in which values above the threshold are object.
    threshold
        Threshold of the proposal; pixels far from it are flipped first.
    mask
        ``(y, x)``; only non-zero pixels may flip, and only they count. None for all.
    radius
        Half width in pixels of the window in which an object may stay connected around a split; the whole slice if
        it is below 1 or longer than a side.

    Raises
    ------
    PlanError
        An array is not 2-D, or the shapes differ.
    """
    slice_2d(proposal, labels, mask)
    return warp_columns(columns(labels > 0, np.uint8), columns(proposal, np.float32).astype(np.float64), threshold,
                        None if mask is None else mask.T != 0, radius)


def warp_columns(cells: Array, values: Array, threshold: float, allowed: Array | None, radius: int) -> Warping:
    """Warp arrays that are already transposed and converted, which a sweep over thresholds does once; see `warp`.

    Parameters
    ----------
    cells
        ``(x, y)`` uint8, 0 and 1: the truth.
    values
        ``(x, y)`` float64, rounded to float32: the proposal.
    threshold, radius
        See `warp`.
    allowed
        ``(x, y)`` bool: the mask; None for all.
    """
    image = np.pad(cells, 1)
    differs = (values > threshold) != cells
    if allowed is not None:
        differs &= allowed
    # float32 as in the evaluator: pixels with equal rounded distances keep column-major order.
    nearness = -np.abs(values[differs] - threshold).astype(np.float32)
    stride = image.shape[1]
    order = np.flatnonzero(np.pad(differs, 1))[np.argsort(nearness, kind="stable")]
    left = order[:flip_simple(image.reshape(-1), order, stride, simple_points())]
    return _classified(image, left, radius)


def _classified(image: Array, left: Pixels, radius: int) -> Warping:
    objects = np.empty(image.shape, np.int32)
    label_rows(image, objects)
    objects[[0, -1]] = objects[:, [0, -1]] = -1
    flat, stride, kinds = image.reshape(-1), image.shape[1], np.zeros_like(image)
    classify(flat, objects.reshape(-1), left, stride, radius, kinds.reshape(-1))
    pixels, clusters = map(MismatchCounts.of_bits, tally(flat, kinds.reshape(-1), left, stride))
    return Warping(image[1:-1, 1:-1].T, kinds[1:-1, 1:-1].T, pixels, clusters)


@cache
def simple_points() -> npt.NDArray[np.bool_]:
    """Return for each of the 256 neighbourhoods ``(256,)`` bool whether its centre is simple, for 4-connected objects.

    Bit k of the index is the k-th neighbour around the centre, starting beside it, not at a corner. The centre is
    simple if exactly one 4-connected piece of object and one 8-connected piece of background touch it, that is if
    Yokoi's connectivity number is 1; this holds for 116 neighbourhoods.

    References
    ----------
    Yokoi, Toriwaki and Fukumura (1975), 10.1016/0146-664X(75)90012-6; Kong and Rosenfeld (1989),
    10.1016/0734-189X(89)90147-3.
    """
    white = (np.arange(256)[:, None] >> np.arange(9) % 8) & 1
    number = sum(white[:, k] * (1 - white[:, k + 1] * white[:, k + 2]) for k in (0, 2, 4, 6))
    return np.asarray(number == 1)


@compiled
def flip_simple(image: Array, order: Pixels, stride: int, simple: npt.NDArray[np.bool_]) -> int:
    """Flip simple pixels in place until none is left; return how many of ``order`` remain, at its front.

    Parameters
    ----------
    image
        Flat padded slice, 0 and 1; changed in place.
    order
        Flat indices of the pixels to flip, in the order of the attempts; reordered in place.
    stride
        Padded length of a column.
    simple
        Result of `simple_points`.
    """
    around = (-1, -stride - 1, -stride, -stride + 1, 1, stride + 1, stride, stride - 1)
    remaining = order.size
    while True:
        kept = 0
        for k in range(remaining):
            pixel = order[k]
            code = 0
            for bit in range(8):
                code |= image[pixel + around[bit]] << bit
            if simple[code]:
                image[pixel] ^= 1
            else:
                order[kept] = pixel
                kept += 1
        if kept == remaining:
            return kept
        remaining = kept
