"""Components that belong together, and the numbers of the objects that they make: union-find."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from tiler.metrics.jit import compiled
from tiler.ports import Array

Ids = npt.NDArray[np.int64]
LARGE_TABLE = 2**28
"""Bytes from which on a table lies in a temporary file instead of memory."""


def roomy(length: int, limit: int = LARGE_TABLE) -> Ids:
    """(length,) int64 zeros: in memory, or from ``limit`` bytes on in a temporary file, which nobody has to remove."""
    if length * 8 < limit:
        return np.zeros(length, np.int64)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.int64, "w+", shape=(length,))


class Groups:
    """Components numbered from 0, in groups: at first each is one by itself.

    Parameters
    ----------
    count
        How many components there are.
    """

    def __init__(self, count: int) -> None:
        self.parent = roomy(count)
        _alone(self.parent)

    def join(self, first: Ids, second: Ids) -> None:
        """Put every component of ``first`` (n,) and that of ``second`` (n,) at the same place into one group."""
        _join(self.parent, first, second)

    def gather(self, sizes: Ids, firsts: Ids) -> None:
        """Move what is known of components to the roots of their groups: where ``parent`` points to then.

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
            Groups of fewer voxels get 0.

        Returns
        -------
        numbers
            (n,) of each component.
        count
            How many groups have a number.
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
            sizes[number] = 0  # so that they may be gathered again when more has been joined
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
    """(z, y, x) of ``dtype``: the components of a block with the numbers of their objects.

    Parameters
    ----------
    ids
        ``(z, y, x)``, from 1; 0 is background.
    numbers
        (n,) of each component.
    dtype
        An unsigned integer that holds them.
    """
    lookup = np.zeros(len(numbers) + 1, dtype)
    lookup[1:] = numbers
    return lookup[ids]
