"""Connected components of one block, and a table of their sizes, first voxels and values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiler.geometry import Box, Shape
from tiler.metrics.jit import compiled
from tiler.objects.connectivity import Connectivity
from tiler.ports import Array

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Table of the components of a block: ``(n,)`` int64 arrays, in the order of their numbers.

    Parameters
    ----------
    sizes
        Number of voxels.
    firsts
        Raster index of the first voxel in the whole volume.
    values
        Value of the voxels.
    """

    sizes: Ids
    firsts: Ids
    values: Ids

    def __len__(self) -> int:
        return len(self.sizes)


def components_of(values: Array, connectivity: Connectivity) -> Array:
    """``(z, y, x)`` int: components of a block, numbered from 1 by their first voxel in raster order.

    Parameters
    ----------
    values
        ``(z, y, x)`` integers. All voxels of a component have one value; 0 is background.
    connectivity
        Voxels that count as neighbours.
    """
    kinds = _few_values(values)
    if len(kinds) < 2:
        from scipy import ndimage

        ids: Array = ndimage.label(values, connectivity.structure)[0]
        return ids
    from skimage.measure import label

    if not connectivity.flat:
        found: Array = label(values, background=0, connectivity={6: 1, 18: 2, 26: 3}[connectivity.neighbours])
        return found
    return _stacked([label(section, background=0, connectivity={4: 1, 8: 2}[connectivity.neighbours])
                     for section in values])


def _few_values(values: Array) -> set[int]:
    """The smallest and the largest value that is no background: one where there are no others."""
    foreground = values[values != 0]
    return {int(foreground.min()), int(foreground.max())} if foreground.size else set()


def _stacked(sections: list[Array]) -> Array:
    """Label each section by itself; numbers continue from one section to the next."""
    count = 0
    for section in sections:
        present = section > 0
        here = int(section.max(initial=0))
        section[present] += count
        count += here
    return np.stack(sections)


def describe(ids: Array, values: Array, box: Box, volume: Shape) -> Table:
    """Size, first voxel and value of each component.

    Parameters
    ----------
    ids
        ``(z, y, x)`` component numbers, as `components_of` returns them.
    values
        ``(z, y, x)`` labels from which the components were made.
    box
        Box of the block in the volume.
    volume
        ``(z, y, x)`` size of the volume.
    """
    count = int(ids.max(initial=0))
    sizes, firsts, kinds = (np.zeros(count + 1, np.int64) for _ in range(3))
    _describe(ids, values, np.array(box.start), np.array(volume), sizes, firsts, kinds)
    return Table(sizes[1:], firsts[1:], kinds[1:])


@compiled
def _describe(ids: Array, values: Array, start: Ids, volume: Ids, sizes: Ids, firsts: Ids, kinds: Ids) -> None:
    depth, height, width = ids.shape
    for z in range(depth):
        for y in range(height):
            row = ((start[0] + z) * volume[1] + start[1] + y) * volume[2] + start[2]
            for x in range(width):
                number = ids[z, y, x]
                if number == 0:
                    continue
                if sizes[number] == 0:
                    firsts[number] = row + x
                    kinds[number] = values[z, y, x]
                sizes[number] += 1
