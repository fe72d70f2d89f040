"""Arrays in memory, and anything else with shape, dtype and slicing (dask, h5py, xarray, zarr in memory)."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array
from tiler.sources.axes import named_axes
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.raw import Header, Index

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ArrayImage:
    """An array-like that is sliced in its own way and then made a numpy array."""

    header: Header
    array: Any

    def fetch(self, index: Index) -> Array:
        part = self.array[index]
        if isinstance(part, np.ma.MaskedArray):
            part = part.filled(0)  # the user agreed to that when it was opened
        return np.array(part)  # a copy: the caller's array must not be passed on

    def identity(self) -> None:
        """An array in memory has no identity: a run over it cannot be resumed."""
        return


def open_array(array: Any, consent: Consent = REFUSED) -> ArrayImage:
    """See an array-like as an image, its axes named by its dimensions (xarray), else guessed from their number.

    Raises
    ------
    SourceError
        If its dtype is not a numpy dtype, its shape is unknown (some dask arrays), or some voxels are masked.
    """
    try:
        dtype, shape = np.dtype(array.dtype), tuple(int(size) for size in array.shape)
    except (TypeError, ValueError):
        raise SourceError(f"an array needs a numpy dtype and a known shape; got {type(array).__name__} of dtype "
                          f"{array.dtype} and shape {tuple(array.shape)}") from None
    _check_masked(array, consent)
    header = Header.plain(name="array", shape=shape, dtype=dtype, chunk=_chunk(array), axes=_axes(array, len(shape)))
    return ArrayImage(header, array)


def _axes(array: Any, ndim: int) -> str | None:
    """Axes as named by xarray; None if there are no names or if they are not image axes."""
    dims = getattr(array, "dims", None)
    if not isinstance(dims, tuple):
        return None
    axes = named_axes(dims, ndim)
    if axes is None and not all(str(name).startswith("dim_") for name in dims):
        logger.warning("the dimensions of the array are called %s, which are not t, c, z, y and x: they are taken in "
                       "their order (`axes`)", ", ".join(map(str, dims)))
    return axes


def _check_masked(array: Any, consent: Consent) -> None:
    """A mask says which voxels are not there."""
    if isinstance(array, np.ma.MaskedArray):
        masked = int(np.ma.getmaskarray(array).sum())
        if masked:
            consent.absent(f"{masked} voxels of the array are masked (array.filled(...) gives them a value)")


def _chunk(array: Any) -> tuple[int, ...] | None:
    """dask calls the largest chunk ``chunksize``; zarr and h5py have one size, ``chunks``."""
    for name in ("chunksize", "chunks"):
        sizes = getattr(array, name, None)
        if isinstance(sizes, Sequence) and all(isinstance(size, int) and math.isfinite(size) for size in sizes):
            return tuple(sizes)
    return None
