"""Parts of a volume that are not background, decided for cells of its sections on a grid over the whole volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiler.geometry import Box, Span
from tiler.ports import Json, Source

Inside = npt.NDArray[np.bool_]
CELL = 64
"""Side along y and x of the cells of a section; a cell is background as a whole or not at all."""


@dataclass(frozen=True, slots=True)
class Foreground:
    """Cells of sections that are not uniformly background, on a grid over the whole volume.

    Parameters
    ----------
    source
        The volume.
    value
        Value of the background in all channels.
    """

    source: Source
    value: float

    def read(self, box: Box) -> Inside:
        whole = Box((box.spans[0], *(Span(span.start // CELL * CELL, min(size, -(-span.stop // CELL) * CELL))
                                     for span, size in zip(box.spans[1:], self.source.shape[2:], strict=True))))
        differs = (self.source.read(whole) != self.value).any(axis=0)
        for axis in (1, 2):
            starts = np.arange(0, differs.shape[axis], CELL)
            lengths = np.diff([*starts, differs.shape[axis]])
            differs = np.repeat(np.logical_or.reduceat(differs, starts, axis), lengths, axis)
        found: Inside = differs[box.back(whole.start).slices]
        return found

    def to_json(self) -> Json:
        return {"background": self.value}


@dataclass(frozen=True, slots=True)
class Varied:
    """Cells of sections that do not hold one value alone, whatever it is, on a grid over the whole volume.

    What is left of a section behind its last whole cell belongs to that cell, since a sliver of a few voxels may hold
    one value by chance.
    """

    source: Source

    def read(self, box: Box) -> Inside:
        starts = [_starts(size) for size in self.source.shape[2:]]
        whole = Box((box.spans[0], *(_covering(span, cells, size) for span, cells, size in
                                     zip(box.spans[1:], starts, self.source.shape[2:], strict=True))))
        data = self.source.read(whole)
        low, high = data, data
        repeats = []
        for axis, span, cells in zip((2, 3), whole.spans[1:], starts, strict=True):
            inner = cells[(cells >= span.start) & (cells < span.stop)] - span.start
            low, high = np.minimum.reduceat(low, inner, axis), np.maximum.reduceat(high, inner, axis)
            repeats.append(np.diff([*inner, span.stop - span.start]))
        differs = ~(low == high).all(axis=0)  # NaN differs from itself
        found: Inside = differs.repeat(repeats[0], 1).repeat(repeats[1], 2)[box.back(whole.start).slices]
        return found

    def to_json(self) -> Json:
        return {"background": "auto"}


def _starts(size: int) -> npt.NDArray[np.int64]:
    """First voxels of the cells of an axis; the last one is longer if the axis is no whole number of cells."""
    return np.arange(max(1, size // CELL)) * CELL


def _covering(span: Span, starts: npt.NDArray[np.int64], size: int) -> Span:
    """The cells that a span touches."""
    first, last = np.searchsorted(starts, [span.start, span.stop - 1], "right") - 1
    return Span(int(starts[first]), int(starts[last + 1]) if last + 1 < len(starts) else size)
