"""Measurements of the objects of a volume, block by block: sizes, positions and image values inside each object.

The tables of two blocks can be merged, and the result does not depend on how the volume was cut into blocks: counts,
sums of coordinates and bounding boxes are integers; means and variances are merged by the formula of Chan et al.
(1983), 10.1080/00031305.1983.10483115.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tiler.geometry import Box, Shape
from tiler.metrics.jit import compiled
from tiler.ports import Array

Ids = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

VALUES = ("mean", "squares", "least", "most")
"""Columns of `Values`."""


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Values of an image inside n objects.

    Parameters
    ----------
    mean
        ``(n,)`` mean values.
    squares
        ``(n,)`` sums of squared differences from the mean.
    least, most
        ``(n,)`` smallest and largest values. If one value of an object is NaN, so are all of these.
    """

    mean: Floats
    squares: Floats
    least: Floats
    most: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """A table of n objects.

    Parameters
    ----------
    ids
        (n,) uint64, ascending; 0 is no object.
    voxels
        (n,) int64.
    sums
        ``(n, 3)`` int64: sums of the coordinates z, y, x.
    starts, stops
        ``(n, 3)`` int64: half-open bounding boxes.
    images
        Values for each channel of each image.
    """

    ids: Ids
    voxels: Ints
    sums: Ints
    starts: Ints
    stops: Ints
    images: tuple[Values, ...] = ()

    @classmethod
    def of(cls, labels: Array, images: Array, start: Shape) -> Measures:
        """Measure the objects in a block.

        Parameters
        ----------
        labels
            ``(z, y, x)`` unsigned integers.
        images
            ``(c, z, y, x)`` real numbers; c may be 0.
        start
            ``(z, y, x)`` position of the block in the volume.
        """
        ids, index = compact(labels)
        n = len(ids)
        voxels, sums = np.zeros(n, np.int64), np.zeros((n, 3), np.int64)
        starts, stops = np.full((n, 3), np.iinfo(np.int64).max), np.zeros((n, 3), np.int64)
        _place(index, np.array(start), voxels, sums, starts, stops)
        return cls(ids, voxels, sums, starts, stops, tuple(_values(index, channel, n) for channel in images))

    def __add__(self, other: Measures) -> Measures:
        """Merge two tables; an object that occurs in both is measured over all its voxels."""
        both = [np.concatenate(pair) for pair in zip(self._columns, other._columns, strict=True)]
        order = np.argsort(both[0], kind="stable")
        ids, voxels, sums, starts, stops = (column[order] for column in both)
        if not len(ids):
            return self
        first = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
        images = tuple(_merged(a, b, order, first, voxels) for a, b in zip(self.images, other.images, strict=True))
        return Measures(ids[first], np.add.reduceat(voxels, first), np.add.reduceat(sums, first),
                        np.minimum.reduceat(starts, first), np.maximum.reduceat(stops, first), images)

    def arrays(self) -> dict[str, Array]:
        """The table as arrays of its own, from which `of_arrays` makes it again."""
        shape = (len(self.images), len(self.ids))
        images = {name: np.array([getattr(values, name) for values in self.images]).reshape(shape) for name in VALUES}
        return {"ids": self.ids, "voxels": self.voxels, "sums": self.sums, "starts": self.starts, "stops": self.stops,
                **images}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Array]) -> Measures:
        images = zip(*(arrays[name] for name in VALUES), strict=True)
        return cls(arrays["ids"], arrays["voxels"], arrays["sums"], arrays["starts"], arrays["stops"],
                   tuple(Values(*columns) for columns in images))

    @property
    def _columns(self) -> tuple[Array, ...]:
        return self.ids, self.voxels, self.sums, self.starts, self.stops

    @property
    def centres(self) -> Floats:
        """``(n, 3)``: centroids z, y, x in voxels; the middle of the first voxel is 0."""
        return self.sums / self.voxels[:, None]

    def touches(self, region: Box) -> npt.NDArray[np.bool_]:
        """``(n,)``: whether an object touches the border of a region; axes of length 1 are ignored."""
        at_border = (self.starts == region.start) | (self.stops == region.stop)
        found: npt.NDArray[np.bool_] = at_border[:, np.array(region.shape) > 1].any(axis=1)
        return found


def _values(index: Array, image: Array, count: int) -> Values:
    mean, squares = np.zeros(count), np.zeros(count)
    least, most = np.full(count, np.inf), np.full(count, -np.inf)
    _look(index, image.astype(np.float64), np.zeros(count, np.int64), mean, squares, least, most)
    return Values(mean, squares, least, most)


def _merged(one: Values, other: Values, order: Ints, first: Ints, voxels: Ints) -> Values:
    """Values of the rows of two tables: sorted by ``order``, the rows of one object begin at each ``first``."""
    mean, squares, least, most = (np.concatenate([getattr(one, name), getattr(other, name)])[order]
                                  for name in VALUES)
    total = np.add.reduceat(voxels, first)
    rows = np.diff(np.append(first, len(voxels)))
    middle = np.add.reduceat(mean * voxels, first) / total
    middle[rows == 1] = mean[first[rows == 1]]
    shift = mean - np.repeat(middle, rows)
    return Values(middle, np.add.reduceat(squares + voxels * shift * shift, first), np.minimum.reduceat(least, first),
                  np.maximum.reduceat(most, first))


def compact(labels: Array) -> tuple[Ids, Ints]:
    """``(n,)`` uint64 ids of a block, ascending, without 0; ``(z, y, x)`` int64 index of each voxel's id, from 1."""
    foreground = labels > 0
    if not foreground.any():
        return np.zeros(0, np.uint64), np.zeros(labels.shape, np.int64)
    least = int(labels[foreground].min())
    span = int(labels.max()) - least + 1
    index = np.zeros(labels.shape, np.int64)
    if span > 4 * labels.size:
        ids, index[foreground] = np.unique(labels[foreground], return_inverse=True)
        index[foreground] += 1
        return ids.astype(np.uint64), index
    shifted = (labels[foreground] - labels.dtype.type(least)).astype(np.int64)
    present = np.zeros(span, np.int64)
    present[shifted] = 1
    index[foreground] = np.cumsum(present)[shifted]
    return np.flatnonzero(present).astype(np.uint64) + np.uint64(least), index


@compiled
def _place(index: Ints, start: Ints, voxels: Ints, sums: Ints, starts: Ints, stops: Ints) -> None:
    for z in range(index.shape[0]):
        for y in range(index.shape[1]):
            for x in range(index.shape[2]):
                row = index[z, y, x] - 1
                if row < 0:
                    continue
                voxels[row] += 1
                for axis, place in enumerate((start[0] + z, start[1] + y, start[2] + x)):
                    sums[row, axis] += place
                    starts[row, axis] = min(starts[row, axis], place)
                    stops[row, axis] = max(stops[row, axis], place + 1)


@compiled
def _look(index: Ints, image: Floats, seen: Ints, mean: Floats, squares: Floats, least: Floats, most: Floats) -> None:
    """Mean and squares by Welford's method, and extremes; NaN propagates."""
    for z in range(index.shape[0]):
        for y in range(index.shape[1]):
            for x in range(index.shape[2]):
                row = index[z, y, x] - 1
                if row < 0:
                    continue
                value = image[z, y, x]
                seen[row] += 1
                shift = value - mean[row]
                mean[row] += shift / seen[row]
                squares[row] += shift * (value - mean[row])
                if value < least[row] or np.isnan(value):
                    least[row] = value
                if value > most[row] or np.isnan(value):
                    most[row] = value


@dataclass
class Total:
    """Sum of tables that copies every row only a few times: like sizes are merged first, as in a binary counter."""

    tables: list[Measures] = field(default_factory=list)

    def add(self, table: Measures) -> None:
        while self.tables and len(self.tables[-1].ids) <= 2 * len(table.ids):
            table = self.tables.pop() + table
        self.tables.append(table)

    def result(self) -> Measures:
        """The sum of at least one table."""
        total = self.tables.pop()
        while self.tables:
            total = self.tables.pop() + total
        return total
