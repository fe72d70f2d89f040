"""Outlines of objects in one section, along the borders of their pixels.

::

    corners of pixels      outline of the piece # (y, x)
    0   1   2   3
    +---+---+---+ 0        (0, 1) (0, 3) (1, 3) (1, 2) (2, 2) (2, 1)
    |   | # | # |
    +---+---+---+ 1
    |   | # |   |
    +---+---+---+ 2

Pixels that touch only at a corner belong to different pieces, as for ImageJ's wand. Holes are not outlined.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tiler.metrics.jit import compiled
from tiler.ports import Array

Points = npt.NDArray[np.int32]


def outlines_of(ids: Array) -> Iterator[tuple[int, Points]]:
    """Yield the number of an object and the outline of a piece of it, by number, then by first pixel.

    Parameters
    ----------
    ids
        ``(y, x)``; 0 is background.
    """
    for number, place in places_of(ids):
        corner = np.array([place[0].start, place[1].start], np.int32)
        yield from ((number, points + corner) for points in pieces_of(ids[place] == number))


def places_of(ids: Array) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Yield each number and its box in a section."""
    numbers, index = np.unique(ids, return_inverse=True)
    compact = index.reshape(ids.shape) + int(numbers[0] > 0)
    yield from zip(numbers[numbers > 0].tolist(), ndimage.find_objects(compact), strict=True)


def pieces_of(mask: npt.NDArray[np.bool_]) -> Iterator[Points]:
    """Yield ``(n, 2)`` corners y, x of the outline of each piece of an object, by first pixel."""
    pieces, count = ndimage.label(mask)
    padded = np.pad(pieces, 1)
    for piece in range(1, count + 1):
        yield _traced(padded, piece, int((pieces == piece).argmax())) - 1


@compiled
def _traced(pieces: npt.NDArray[np.int32], piece: int, first: int) -> Points:
    """Walk round a piece, clockwise and with its pixels on the right, and note every corner.

    Parameters
    ----------
    pieces
        ``(y, x)`` with a rim of zeros.
    first
        The piece's first pixel, in the array without the rim.
    """
    width = pieces.shape[1] - 2
    y, x = first // width + 1, first % width + 1
    start_y, start_x, dy, dx = y, x, 0, 1
    found = [(y, x)]
    while True:
        y, x = y + dy, x + dx
        # The pixels ahead on the left and on the right of the direction, seen from this corner.
        left = pieces[y + (dy - dx - 1) // 2, x + (dx + dy - 1) // 2] == piece
        right = pieces[y + (dy + dx - 1) // 2, x + (dx - dy - 1) // 2] == piece
        if y == start_y and x == start_x:
            break
        if not right:
            dy, dx = dx, -dy
            found.append((y, x))
        elif left:
            dy, dx = -dx, dy
            found.append((y, x))
    return np.array(found, dtype=np.int32)
