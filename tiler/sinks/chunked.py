"""One level of an output of tensorstore as an array."""

from __future__ import annotations

from dataclasses import dataclass
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
    shards: None = None

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
        self.store[index].write(values).result()  # tensorstore syncs file and folder before it says so
