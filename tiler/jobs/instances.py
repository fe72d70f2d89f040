"""Instances from labels: 4-connected components of the foreground of each slice, streamed in bands of rows.

A slice may be larger than memory. Its bands are labelled one by one, components that meet at a seam are
joined, small ones are dropped, and in a second sweep each band is labelled again and written with its final
numbers. Components are numbered by their first voxel in raster order, so that bands leave no trace, and
numbers go on from slice to slice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tiler.errors import PlanError
from tiler.geometry import Box, Grid
from tiler.ports import Array, Json, Sink

Ids = npt.NDArray[np.int64]


@dataclass(slots=True)
class InstancesJob:
    """Number the components of staged labels, slice by slice in order: a `tiler.ports.Job`.

    Parameters
    ----------
    labels
        Where the labels stand; 0 is background.
    sink
        Where the instances go.
    shape
        ``(z, y, x)`` of both.
    rows
        Height of a band: whole write units of the sink.
    min_size
        Components of fewer voxels are dropped.
    dtype
        Of the instances.
    counts
        How many instances there are in the slices that are numbered already. Filled as slices are written.
    """

    labels: Sink
    sink: Sink
    shape: tuple[int, ...]
    rows: int
    min_size: int
    dtype: np.dtype[Any]
    counts: dict[int, int] = field(default_factory=dict)

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return f"slice {index}"

    def read(self, index: int) -> Ids:
        """Final number of every provisional one in the slice, both counted from 1 within it."""
        sizes, pairs, above = [np.zeros(0, np.int64)], [], None
        count = 0
        for band, _ in self._bands(index):
            ids = np.where(band > 0, band + count, 0)
            if above is not None:
                pairs.append(_touching(above, ids[0]))
            sizes.append(np.bincount(band.ravel())[1:])
            count, above = count + len(sizes[-1]), ids[-1]
        return _numbers(np.concatenate(sizes), pairs, self.min_size)

    def compute(self, index: int, window: Ids) -> Ids:
        return window

    def write(self, index: int, result: Ids) -> Json:
        digest, first = hashlib.blake2b(digest_size=16), 1
        count = int(result.max(initial=0))
        before = sum(number for place, number in self.counts.items() if place < index)
        limit = np.iinfo(self.dtype).max
        if before + count > limit:
            raise PlanError(f"more than {limit} instances: use --dtype uint64 or a larger --min-size")
        for band, box in self._bands(index):
            lookup = np.concatenate([[0], result[first - 1 : first - 1 + int(band.max(initial=0))]])
            first += len(lookup) - 1
            final = lookup[band]
            data = np.where(final > 0, final + before, 0).astype(self.dtype)[None, None]
            self.sink.write(box, data)
            digest.update(data.data)
        self.counts[index] = count
        return {"checksum": digest.hexdigest(), "count": count}

    def _bands(self, index: int) -> Iterator[tuple[Array, Box]]:
        """(rows, x) int32: each band of a slice, its components numbered from 1 in raster order."""
        for box in bands(self.shape, self.rows, index):
            labelled, _ = ndimage.label(self.labels.read(box)[0, 0] > 0)
            yield labelled, box


def bands(shape: tuple[int, ...], rows: int, index: int) -> Grid:
    """The bands of one slice."""
    return Grid(Box.between((index, 0, 0), (index + 1, *shape[1:])), (1, rows, shape[2]))


def _touching(above: Ids, below: Ids) -> Ids:
    """(2, n): pairs of components that meet across a seam."""
    both = (above > 0) & (below > 0)
    return np.unique(np.stack([above[both], below[both]]), axis=1)


def _numbers(sizes: Ids, pairs: list[Ids], min_size: int) -> Ids:
    """(n,) final number of each provisional one: joined at the seams, small ones 0, by first voxel."""
    n = len(sizes)
    if not n:
        return np.zeros(0, np.int64)
    rows, columns = np.concatenate([np.zeros((2, 0), np.int64), *pairs], axis=1) - 1
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    kept = np.bincount(group, weights=sizes)[group] >= min_size
    # A provisional number is the rank of a first voxel, so the order of first members is the final order.
    _, first, rank = np.unique(group, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))[rank]
    final = np.zeros(n, np.int64)
    _, final[kept] = np.unique(order[kept], return_inverse=True)
    final[kept] += 1
    return final
