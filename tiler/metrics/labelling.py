"""Label the objects of a binary slice in column-major order, on which thinning and hashes depend."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tiler.metrics.jit import compiled
from tiler.ports import Array

Labels = npt.NDArray[np.int32]


def columns(image: Array, dtype: Any) -> Array:
    """Transpose a slice ``(y, x)`` to ``(x, y)`` in C order, so that column-major order is memory order.

    A slice in Fortran order that already has the type is not copied.
    """
    return np.ascontiguousarray(image.T, dtype)


def label_objects(image: Array) -> tuple[Labels, int]:
    """Label the 4-connected objects of a slice.

    Parameters
    ----------
    image
        ``(y, x)``; non-zero is object.

    Returns
    -------
    labels
        ``(y, x)`` int32 in Fortran order: 0 for background, objects numbered from 1 by their first pixel in
        column-major order (x outer, y inner).
    count
        Number of objects.
    """
    white = columns(image != 0, np.uint8)
    labels = np.empty(white.shape, np.int32)
    count = label_rows(white, labels)
    return labels.T, int(count)


@compiled
def _root(parent: Labels, number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number


@compiled
def label_rows(image: Array, labels: Labels) -> int:
    """Number the 4-connected components of a C-ordered image by their first pixel, in two passes with union-find."""
    rows, width = image.shape
    # A provisional number starts at a pixel with black above and before it; at most every second pixel is one.
    parent = np.zeros(image.size // 2 + 2, np.int32)
    fresh = 0
    for row in range(rows):
        for column in range(width):
            if image[row, column] == 0:
                labels[row, column] = 0
                continue
            above = labels[row - 1, column] if row else 0
            before = labels[row, column - 1] if column else 0
            if above == 0 and before == 0:
                fresh += 1
                parent[fresh] = fresh
                above = fresh
            elif above and before and above != before:
                above, before = _root(parent, above), _root(parent, before)
                parent[max(above, before)] = min(above, before)
                above = min(above, before)
            labels[row, column] = above or before
    # A root is the smallest number of its component, that of its first pixel, and precedes the others.
    count = 0
    for number in range(1, fresh + 1):
        if parent[number] == number:
            count += 1
            parent[number] = count
        else:
            parent[number] = parent[parent[number]]
    for row in range(rows):
        for column in range(width):
            labels[row, column] = parent[labels[row, column]]
    return count
