"""Groups of components that form objects, and the numbers of these objects: union-find."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from tiler.metrics.jit import compiled
from tiler.ports import Array

Ids = npt.NDArray[np.int64]
LARGE_TABLE = 2**28
"""Size in bytes from which a table lies in a temporary file instead of memory."""


def roomy(length: int, limit: int = LARGE_TABLE) -> Ids:
    """``(length,)`` int64 zeros, in memory, or from ``limit`` bytes in a temporary file that removes itself."""
    if length * 8 < limit:
        return np.zeros(length, np.int64)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.int64, "w+", shape=(length,))


class Groups:
    """Groups of components, numbered from 0; at first, each component is a group.

    Parameters
    ----------
    count
        Number of components.
    """

    def __init__(self, count: int) -> None:
        self.parent = roomy(count)
        _alone(self.parent)

    def join(self, first: Ids, second: Ids) -> None:
        """Join component ``first[i]`` with component ``second[i]``, for ``(n,)`` arrays of components."""
        _join(self.parent, first, second)

    def gather(self, sizes: Ids, firsts: Ids) -> None:
        """Move sizes and first voxels to the roots of the groups; ``parent`` then points to the roots.

        Parameters
        ----------
        sizes, firsts
            (n,) voxels and first voxel of each component; they are changed.
        """
        _gather(self.parent, sizes, firsts)

    def numbers(self, sizes: Ids, firsts: Ids, min_size: int) -> tuple[Ids, int]:
        """Number the groups from 1 by their first voxel.

        Parameters
        ----------
        sizes, firsts
            (n,) voxels and first voxel of each component; they are changed.
        min_size
            Groups with fewer voxels get 0.

        Returns
        -------
        numbers
            ``(n,)`` number of each component's group.
        count
            Number of groups that have a number.
        """
        self.gather(sizes, firsts)
        kept = np.flatnonzero(_roots(self.parent, sizes, min_size))
        numbers = roomy(len(self.parent))
        numbers[kept[np.argsort(firsts[kept])]] = np.arange(1, len(kept) + 1)
        _spread(self.parent, numbers)
        return numbers, len(kept)


@compiled
def _alone(parent: Ids) -> None:
    for number in range(len(parent)):
        parent[number] = number


@compiled
def _root(parent: Ids, number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number


@compiled
def _join(parent: Ids, first: Ids, second: Ids) -> None:
    """The smallest number of a group is its root."""
    for place in range(len(first)):
        one, other = _root(parent, first[place]), _root(parent, second[place])
        parent[max(one, other)] = min(one, other)


@compiled
def _gather(parent: Ids, sizes: Ids, firsts: Ids) -> None:
    """Give every component its root as parent, and every root the voxels and the first voxel of its group."""
    for number in range(len(parent)):
        root = parent[parent[number]]
        parent[number] = root
        if root != number:
            sizes[root] += sizes[number]
            sizes[number] = 0  # so that they can be gathered again after further joins
            firsts[root] = min(firsts[root], firsts[number])


@compiled
def _roots(parent: Ids, sizes: Ids, min_size: int) -> Any:
    found = np.zeros(len(parent), np.bool_)
    for number in range(len(parent)):
        found[number] = parent[number] == number and sizes[number] >= min_size
    return found


@compiled
def _spread(parent: Ids, numbers: Ids) -> None:
    for number in range(len(parent)):
        numbers[number] = numbers[parent[number]]


def renumbered(ids: Array, numbers: Ids, dtype: Any) -> Array:
    """``(z, y, x)`` of ``dtype``: numbers of the objects to which the components of a block belong.

    Parameters
    ----------
    ids
        ``(z, y, x)`` components, from 1; 0 is background.
    numbers
        ``(n,)`` object number of each component.
    dtype
        Unsigned integer type that can hold these numbers.
    """
    lookup = np.zeros(len(numbers) + 1, dtype)
    lookup[1:] = numbers
    return lookup[ids]
