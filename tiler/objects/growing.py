"""Grow objects into the background: every voxel within reach is assigned to the nearest object.

If two objects are equally near, the one with the smaller number gets the voxel, so that a voxel depends only on the
objects within reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from tiler.geometry import Box, Shape, Span
from tiler.metrics.jit import compiled
from tiler.ports import Array


@dataclass(frozen=True, slots=True)
class Growth:
    """Distance and directions in which objects grow.

    Parameters
    ----------
    reach
        Distance in voxels along x.
    flat
        Whether objects stay in their section.
    sampling
        ``(z, y, x)`` sides of a voxel, relative to x.
    """

    reach: int
    flat: bool
    sampling: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def halo(self) -> Shape:
        """``(z, y, x)``: width of the margin that has to be read around a block, in voxels."""
        sides = [int(self.reach / side) for side in self.sampling]
        return (0 if self.flat else sides[0], *sides[1:])

    def around(self, box: Box, volume: Shape) -> Box:
        """The box that has to be read to grow the objects of a block."""
        return Box(tuple(Span(max(0, span.start - far), min(size, span.stop + far))
                         for span, far, size in zip(box.spans, self.halo, volume, strict=True)))

    def grown(self, ids: Array, inner: Box) -> Array:
        """``inner.shape``: the grown objects of a block.

        Parameters
        ----------
        ids
            ``(z, y, x)`` object numbers of the block and of the voxels around it.
        inner
            The block, in voxels of ``ids``.
        """
        steps, distances = self._steps()
        out = ids[inner.slices].copy()
        _grow(ids, np.array(inner.start), steps, distances, out)
        return out

    def _steps(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """``(n, 3)`` offsets within reach, nearest first, and ``(n,)`` rank of their distances."""
        every = np.array(list(product(*(range(-far, far + 1) for far in self.halo))), np.int64)
        squares = np.round(((every * np.array(self.sampling)) ** 2).sum(axis=1), 9)
        order = np.argsort(squares, kind="stable")
        order = order[(squares[order] > 0) & (squares[order] <= self.reach**2)]
        return every[order], np.unique(squares[order], return_inverse=True)[1].ravel()


@compiled
def _grow(ids: Array, start: Array, steps: Array, distances: Array, out: Array) -> None:
    depth, height, width = ids.shape
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                best, rank = out[z, y, x], -1
                if best > 0:
                    continue
                for number in range(len(steps)):
                    if best > 0 and distances[number] > rank:
                        break
                    a, b, c = (start[0] + z + steps[number, 0], start[1] + y + steps[number, 1],
                               start[2] + x + steps[number, 2])
                    if 0 <= a < depth and 0 <= b < height and 0 <= c < width and ids[a, b, c] > 0:
                        rank = distances[number]
                        best = ids[a, b, c] if best == 0 else min(best, ids[a, b, c])
                out[z, y, x] = best
