"""Interface of a file format: an n-dimensional array with named axes that is read by slices."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array, Json

T = TypeVar("T")
Index = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """Metadata of an array, known before a voxel is read; one entry per axis, in the array's own order.

    Parameters
    ----------
    name
        Name of the array in messages.
    axes
        One letter per axis: one of ``tczyx``, ``s`` (the samples of an RGB pixel), or ``?`` if the format does not
        name the axis; any other letter is an axis that tiler does not support.
    shape, dtype
        As stored.
    chunk
        Shape that is decoded at once; ones if single voxels can be read.
    scale, units, offset
        Physical size of a voxel, its unit as OME-NGFF spells it (None if unknown), and position of the first voxel.
    channels
        Names of the channels, in the volume's order; empty if the format does not name them.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...]
    scale: tuple[float, ...]
    units: tuple[str | None, ...]
    offset: tuple[float, ...]
    channels: tuple[str, ...] = ()

    @classmethod
    def plain(cls, *, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], axes: str | None = None,
              chunk: tuple[int, ...] | None = None) -> Header:
        """A header without physical sizes."""
        n = len(shape)
        return cls(name, axes or unknown_axes(n), shape, dtype, chunk or (1,) * n,
                   (1.0,) * n, (None,) * n, (0.0,) * n)


def unknown_axes(ndim: int) -> str:
    """Axes of an array whose format does not name them: the last two are always y and x."""
    return ("?" * max(ndim - 2, 0) + "yx")[-ndim:] if ndim else ""


class RawImage(Protocol):
    """An n-D array of some format. Picklable; `fetch` is safe from several threads."""

    @property
    def header(self) -> Header: ...

    def fetch(self, index: Index) -> Array:
        """The voxels of one slice an axis, each with start < stop inside the array, no axis dropped."""
        ...

    def identity(self) -> Json | None:
        """JSON that changes when the voxels change; None for an array in memory."""
        ...


class Lazy(Generic[T]):
    """A handle that is opened on first use, once, and travels through pickle closed.

    Parameters
    ----------
    opener
        Called without arguments; picklable.
    ready
        The handle, if it is already open.
    """

    def __init__(self, opener: Callable[[], T], ready: T | None = None) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._opened: list[T] = [] if ready is None else [ready]

    def __call__(self) -> T:
        with self._lock:
            if not self._opened:
                self._opened.append(self._opener())
            return self._opened[0]

    def __reduce__(self) -> tuple[type, tuple[Callable[[], T]]]:
        return type(self), (self._opener,)


def native_dtype(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """The dtype in which voxels are handed on: bool as uint8, numbers in the machine's byte order.

    Raises
    ------
    SourceError
        For anything that is not a real number of at most 64 bits.
    """
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind in "iuf" and dtype.itemsize <= 8:
        return dtype.newbyteorder("=")
    what = {"c": "complex numbers", "O": "Python objects", "U": "text", "S": "text", "V": "records"}
    raise SourceError(f"{name} holds {what.get(dtype.kind, 'something else than numbers')} ({dtype}): "
                      "give integers or floats of at most 64 bits")
