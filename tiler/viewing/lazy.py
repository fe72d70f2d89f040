"""A volume as an array that reads voxels when it is sliced, for viewers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from tiler.geometry import Box, Span
from tiler.ports import Array, Source


@dataclass(frozen=True, slots=True)
class LazyVolume:
    """A source of one channel, as an array with the axes of its calibration (t, z, y, x or fewer).

    Integers and slices with positive steps work as in numpy; only the selected region is read.

    Parameters
    ----------
    source
        Volume with one channel.
    shape
        Shape of the source, or one voxel more along axes whose last voxel is repeated.
    dtype
        Type of the returned voxels.
    """

    source: Source
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, source: Source) -> LazyVolume:
        return cls(source, source.calibration.sizes, source.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def astype(self, dtype: Any) -> LazyVolume:
        return replace(self, dtype=np.dtype(dtype))

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[...], dtype)

    def __getitem__(self, key: Any) -> Array:
        """Read the voxels that a numpy index of slices and integers selects.

        Raises
        ------
        IndexError
            There are too many indices, or one is out of range.
        """
        items = _expanded(key, self.ndim)
        spans = [_span(item, size) for item, size in zip(items, self.shape, strict=True)]
        rest = tuple(slice(None, None, item.step) if isinstance(item, slice) else 0 for item in items)
        if not all(span.size for span in spans):
            return np.zeros([span.size for span in spans], self.dtype)[rest]
        return self._read(spans)[rest]

    def _read(self, spans: Sequence[Span]) -> Array:
        """Read spans clipped to the source, and repeat its last voxels beyond them."""
        inside = [Span(min(span.start, size - 1), min(span.stop, size))
                  for span, size in zip(spans, self.source.calibration.sizes, strict=True)]
        found = self._inside(inside)
        padding = [(0, span.size - kept.size) for span, kept in zip(spans, inside, strict=True)]
        return np.pad(found, padding, mode="edge") if any(after for _, after in padding) else found

    def _inside(self, spans: Sequence[Span]) -> Array:
        """Read once for each index along the axes before z, since a source folds time into z."""
        *lead, y, x = spans
        *outer, z = lead or [Span(0, 1)]
        sizes = self.source.calibration.sizes[:-2]
        parts = []
        for index in product(*(range(span.start, span.stop) for span in outer)):
            first = int(np.ravel_multi_index((*index, 0), sizes)) if outer else 0
            box = Box((z.shift(first), y, x))
            parts.append(self.source.read(box)[0])
        return np.concatenate(parts).reshape([span.size for span in spans]).astype(self.dtype, copy=False)


def _expanded(key: Any, ndim: int) -> list[Any]:
    """Return one slice or integer for each axis."""
    items = list(key) if isinstance(key, tuple) else [key]
    missing = ndim - sum(item is not Ellipsis for item in items)
    if missing < 0:
        raise IndexError(f"{len(items)} indices for an array of {ndim} axes")
    at = next((i for i, item in enumerate(items) if item is Ellipsis), len(items))
    return [*items[:at], *([slice(None)] * missing), *items[at + 1:]]


def _span(item: Any, size: int) -> Span:
    if isinstance(item, slice):
        start, stop, step = item.indices(size)
        if step < 0:
            raise IndexError("steps are positive")
        return Span(start, max(start, stop))
    index = operator.index(item)
    if not -size <= index < size:
        raise IndexError(f"{index} is outside an axis of length {size}")
    return Span(index % size, index % size + 1)
