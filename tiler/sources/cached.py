"""A source that keeps decoded chunks for later blocks, within a memory budget.

::

    window of a block   [ 1 | 2 | 3 ]          1 and 2 were read by the block before, 3 is read now
                            [ 2 | 3 | 4 ]      and kept for the next one
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import groupby, product
from typing import Any

import numpy as np

from tiler.geometry import Box, Shape, Span, hull
from tiler.ports import Array, Source
from tiler.sources.around import Wrapping

Cell = Shape


@dataclass(eq=False)
class CachedSource(Wrapping):
    """A `tiler.ports.Source` that does not decode a chunk again while it is kept.

    Parameters
    ----------
    source
        Source to read, in whole chunks.
    budget
        Bytes of chunks to keep. Chunks that no block needs any more go first, then the least recently used ones.
    later
        Along each axis: start of the window that follows each window; None for the last one.

    Notes
    -----
    While one thread reads a chunk, others wait for it. Pickled without its chunks.
    """

    source: Source
    budget: int
    later: tuple[Mapping[Span, int | None], ...] = ()
    decoded: int = field(default=0, init=False)
    """Voxels decoded so far, of one channel."""
    _kept: OrderedDict[Cell, Future[Array]] = field(default_factory=OrderedDict, init=False, repr=False)
    _done: OrderedDict[Cell, Future[Array]] = field(default_factory=OrderedDict, init=False, repr=False)
    _bytes: int = field(default=0, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.budget, self.later)

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)``: see `tiler.ports.Source`."""
        if not box.voxels or not Box.of_shape(self.shape[1:]).contains(box):
            return self.source.read(box)  # the source raises its own error
        chunks = self._chunks(box)
        out = np.empty((self.shape[0], *box.shape), self.dtype)
        for cell, chunk in chunks.items():
            place = self._place(cell)
            common = place.intersect(box)
            out[(slice(None), *common.back(box.start).slices)] = chunk.result()[
                (slice(None), *common.back(place.start).slices)]
        return out

    def _chunks(self, box: Box) -> dict[Cell, Future[Array]]:
        """All chunks of a box; missing ones are read."""
        ranges = [range(span.start // unit, -(-span.stop // unit)) for span, unit in
                  zip(box.spans, self.read_unit, strict=True)]
        with self._lock:
            chunks, missing = dict[Cell, Future[Array]](), list[Cell]()
            for cell in product(*ranges):
                chunk = self._done.pop(cell, None) or self._kept.pop(cell, None)
                if chunk is None:
                    chunk = Future()
                    self._bytes += self._size(cell)
                    missing.append(cell)
                (self._kept if self._needed_later(cell, box) else self._done)[cell] = chunks[cell] = chunk
            self.decoded += sum(self._place(cell).voxels for cell in missing)
            while self._bytes > self.budget:
                gone, _ = (self._done or self._kept).popitem(last=False)
                self._bytes -= self._size(gone)
        self._fetch(missing, chunks)
        return chunks

    def _needed_later(self, cell: Cell, box: Box) -> bool:
        """Whether a later window along some axis may need a chunk; True for a box that is not a planned window."""
        for at, unit, span, later in zip(cell, self.read_unit, box.spans, self.later, strict=False):
            start = later.get(span, 0)
            if start is not None and start < (at + 1) * unit:
                return True
        return not self.later

    def _fetch(self, missing: list[Cell], chunks: dict[Cell, Future[Array]]) -> None:
        try:
            for run in _runs(missing):
                box = hull([self._place(cell) for cell in run])
                data = self.source.read(box)
                for cell in run:
                    part = data[(slice(None), *self._place(cell).back(box.start).slices)]
                    chunks[cell].set_result(part if len(run) == 1 else part.copy())
        except BaseException as error:
            self._forget(missing, chunks, error)
            raise

    def _forget(self, missing: list[Cell], chunks: dict[Cell, Future[Array]], error: BaseException) -> None:
        """Waiting readers get the error; later reads retry."""
        with self._lock:
            for cell, where in product(missing, (self._kept, self._done)):
                if where.get(cell) is chunks[cell]:
                    del where[cell]
                    self._bytes -= self._size(cell)
        for cell in missing:
            if not chunks[cell].done():
                chunks[cell].set_exception(error)

    def _place(self, cell: Cell) -> Box:
        spans = (Span(at * unit, min((at + 1) * unit, size)) for at, unit, size in
                 zip(cell, self.read_unit, self.shape[1:], strict=True))
        return Box(tuple(spans))

    def _size(self, cell: Cell) -> int:
        return self._place(cell).voxels * self.shape[0] * self.dtype.itemsize


def _runs(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Cells that are read at once: all where they fill a box, as they do where blocks are visited in order; else
    those that lie in one row."""
    if not cells:
        return
    sides = [max(axis) - min(axis) + 1 for axis in zip(*cells, strict=True)]
    if math.prod(sides) == len(cells):
        yield cells
        return
    for _, row in groupby(cells, key=lambda cell: cell[:-1]):
        for _, run in groupby(enumerate(row), key=lambda pair: pair[1][-1] - pair[0]):
            yield [cell for _, cell in run]
