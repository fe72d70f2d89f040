"""Arrays in chunks: one level of an output of tensorstore, and the chunks that a slice touches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from tiler.geometry import Shape
from tiler.ports import Array
from tiler.sinks.layout import Index


@dataclass(frozen=True, slots=True)
class Chunked:
    """One level as an array in the order of the layout: what `tiler.sinks.layout` and `tiler.sinks.pyramid` need."""

    store: Any
    chunks: Shape
    shards: Shape | None = None

    @property
    def shape(self) -> Shape:
        return tuple(self.store.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = np.dtype(self.store.dtype.numpy_dtype)
        return found

    def __getitem__(self, index: Index) -> Array:
        found: Array = self.store[index].read().result()
        return found

    def __setitem__(self, index: Index, values: Array) -> None:
        if self.shards is None:
            self.store[index].write(values).result()  # tensorstore syncs file and folder before it says so
            return
        import tensorstore  # zarr outputs use this module too, and do without

        with tensorstore.Transaction() as once:  # otherwise every chunk would rewrite its shard
            self.store.with_transaction(once)[index].write(values).result()


def cells_of(index: Index, chunks: Shape) -> Iterator[tuple[int, ...]]:
    """Numbers along each axis of the chunks that a slice of an array touches."""
    return product(*(range(part.start // size, -(-part.stop // size))
                     for part, size in zip(index, chunks, strict=True)))
