"""Arrays in memory, and anything else with shape, dtype and slicing (dask, h5py, zarr in memory)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array
from tiler.sources.raw import Header, Index


@dataclass(frozen=True, slots=True)
class ArrayImage:
    """An array-like that is sliced in its own way and then made a numpy array."""

    header: Header
    array: Any

    def fetch(self, index: Index) -> Array:
        return np.array(self.array[index])  # a copy: the caller's array is not ours to hand out

    def identity(self) -> None:
        """An array in memory has no identity: a run over it cannot be resumed."""
        return


def open_array(array: Any) -> ArrayImage:
    """See an array-like as an image, its axes guessed from their number.

    Raises
    ------
    SourceError
        If its dtype is none of numpy's, or its shape is not known (some dask arrays).
    """
    try:
        dtype, shape = np.dtype(array.dtype), tuple(int(size) for size in array.shape)
    except (TypeError, ValueError):
        raise SourceError(f"an array needs a numpy dtype and a known shape; got {type(array).__name__} of dtype "
                          f"{array.dtype} and shape {tuple(array.shape)}") from None
    return ArrayImage(Header.plain(name="array", shape=shape, dtype=dtype, chunk=_chunk(array)), array)


def _chunk(array: Any) -> tuple[int, ...] | None:
    """dask calls the largest chunk ``chunksize``; zarr and h5py have one size, ``chunks``."""
    for name in ("chunksize", "chunks"):
        sizes = getattr(array, name, None)
        if isinstance(sizes, Sequence) and all(isinstance(size, int) and math.isfinite(size) for size in sizes):
            return tuple(sizes)
    return None
