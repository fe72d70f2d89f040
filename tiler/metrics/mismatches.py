"""Classify the mismatches that warping leaves into six types, counted in pixels and in clusters.

The loops work on a slice that is padded by one pixel and transposed, so that memory order is column-major; a pixel
is given by its flat index.

References
----------
Jain et al., Boundary learning by optimization with topological constraints (2010), section 3,
10.1109/CVPR.2010.5539950; the types are those of Fiji's Trainable_Segmentation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntFlag

import numpy as np
import numpy.typing as npt

from tiler.metrics.jit import compiled
from tiler.metrics.labelling import Labels
from tiler.ports import Array

Pixels = npt.NDArray[np.int64]


class Mismatch(IntFlag):
    """Types of mismatches, named by what the proposal does to the truth; in a map of mismatches 0 is none."""

    MERGE = 1
    SPLIT = 2
    HOLE_ADDITION = 4
    OBJECT_DELETION = 8
    OBJECT_ADDITION = 16
    HOLE_DELETION = 32


MERGE, SPLIT, HOLE_ADDITION, OBJECT_DELETION, OBJECT_ADDITION, HOLE_DELETION = (int(kind) for kind in Mismatch)


@dataclass(frozen=True, slots=True)
class MismatchCounts:
    """Number of mismatches of each type, in pixels or in clusters."""

    merge: int = 0
    split: int = 0
    hole_addition: int = 0
    hole_deletion: int = 0
    object_addition: int = 0
    object_deletion: int = 0

    @classmethod
    def of_bits(cls, counts: npt.NDArray[np.int64]) -> MismatchCounts:
        """Convert an array ``(6,)`` with one count for each bit of `Mismatch`."""
        names = (kind.name for kind in Mismatch)
        return cls(**{str(name).lower(): int(count) for name, count in zip(names, counts, strict=True)})

    def __add__(self, other: MismatchCounts) -> MismatchCounts:
        mine, theirs = asdict(self), asdict(other)
        return MismatchCounts(**{name: mine[name] + theirs[name] for name in mine})

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    @property
    def splits_and_mergers(self) -> int:
        return self.split + self.merge


@compiled
def joined(image: Array, pixel: int, stride: int, radius: int, walk: int, visited: Labels, queue: Labels) -> bool:
    """Whether the white neighbours of a pixel are connected without it, inside the window around it.

    ``visited`` holds the number of the last walk that passed each pixel, so it need not be cleared between walks.
    """
    height, width = stride - 2, image.size // stride - 2
    row, column = pixel // stride, pixel % stride
    top, bottom, before, after = row - radius, row + radius, column - radius, column + radius
    if radius < 1 or radius > width or radius > height:
        top, bottom, before, after = 1, width, 1, height
    wanted = 0
    for step in (-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1):
        if image[pixel + step]:
            wanted += 1
            start = pixel + step
    visited[pixel] = walk
    visited[start] = walk
    queue[0] = start
    first, last = 0, 1
    while first < last:
        here = queue[first]
        first += 1
        if abs(here // stride - row) <= 1 and abs(here % stride - column) <= 1:
            wanted -= 1
            if wanted == 0:
                return True
        for step in (-stride, -1, 1, stride):
            there = here + step
            if (image[there] and visited[there] != walk
                    and top <= there // stride <= bottom and before <= there % stride <= after):
                visited[there] = walk
                queue[last] = there
                last += 1
    return False


@compiled
def classify(image: Array, labels: Labels, mismatches: Pixels, stride: int, radius: int, kinds: Array) -> None:
    """Write the type of each mismatch into a map of zeros.

    Each mismatch is classified on its own in the final warped truth, by the ids of its 8 neighbours inside the slice.
    Background and the first two objects distinguish all cases, since two objects meet at a pixel only with background
    between them (or on the two sides of a slice that is one pixel wide).

    Parameters
    ----------
    image
        Flat padded warped truth, 0 and 1.
    labels
        4-connected objects of ``image``, flat; negative outside the slice.
    mismatches
        Flat indices of the mismatches.
    stride
        Padded length of a column.
    radius
        Radius of the window in which a path around a split is sought; below 1 for the whole slice.
    kinds
        Flat padded map, uint8; the output.
    """
    visited = np.zeros(image.size, np.int32)
    queue = np.empty(image.size, np.int32)
    walks = 0
    for pixel in mismatches:
        background = one = two = 0
        for step in (-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1):
            there = labels[pixel + step]
            if there == 0:
                background = 1
            elif there > 0 and one == 0:
                one = there
            elif there > 0 and there != one:
                two = there
        distinct = background + (one > 0) + (two > 0)
        white = image[pixel] != 0
        if one == 0:
            kinds[pixel] = OBJECT_DELETION if white else OBJECT_ADDITION
        elif distinct == 1:
            kinds[pixel] = HOLE_ADDITION if white else HOLE_DELETION
        elif distinct > 2:
            kinds[pixel] = SPLIT if white else MERGE
        elif not white:
            kinds[pixel] = HOLE_ADDITION
        else:
            walks += 1
            bypassed = joined(image, pixel, stride, radius, walks, visited, queue)
            kinds[pixel] = HOLE_DELETION if bypassed else SPLIT


@compiled
def tally(image: Array, kinds: Array, mismatches: Pixels, stride: int) -> npt.NDArray[np.int64]:
    """Count the pixels and the clusters of each type, ``(2, 6)`` in the order of the bits.

    Clusters of mergers and of holes added in white are 8-connected, all others 4-connected; black and white pixels
    never share a cluster.
    """
    counts = np.zeros((2, 6), np.int64)
    counted = np.zeros(image.size, np.uint8)
    queue = np.empty(image.size, np.int32)
    for seed in mismatches:
        kind, colour = kinds[seed], image[seed]
        bit = 0
        while kind >> bit != 1:
            bit += 1
        counts[0, bit] += 1
        if counted[seed]:
            continue
        counts[1, bit] += 1
        steps = (-stride, -1, 1, stride, -stride - 1, -stride + 1, stride - 1, stride + 1)
        reach = 8 if kind == MERGE or (kind == HOLE_ADDITION and colour) else 4
        counted[seed] = 1
        queue[0] = seed
        first, last = 0, 1
        while first < last:
            here = queue[first]
            first += 1
            for k in range(reach):
                there = here + steps[k]
                if kinds[there] == kind and image[there] == colour and not counted[there]:
                    counted[there] = 1
                    queue[last] = there
                    last += 1
    return counts
