"""Read bytes of a file by position, and regions of arrays that a file holds uncompressed.

A memory map of a file that shrinks kills the process (SIGBUS). A read by position comes back short instead, which
is an error that names the file.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array
from tiler.sources.raw import Index

HELD = 128
"""Largest number of files that stay open between reads."""
NEAR = 2**16
"""Bytes: a region whose first and last voxel are closer than this is read at once, including the bytes between."""
WASTE = 4
"""A region is read at once if it then takes at most this many times its own bytes."""


class FileBytes:
    """The bytes of a file. Safe from several threads; pickled by its path.

    The file stays open after the first read, unless ``HELD`` others do: then every read opens it anew.

    Parameters
    ----------
    path
        The file.
    """

    _held = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._handle: int | None = None

    def __reduce__(self) -> tuple[type[FileBytes], tuple[Path]]:
        return type(self), (self.path,)

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            os.close(self._handle)  # type: ignore[arg-type]
            FileBytes._held -= 1

    @property
    def size(self) -> int:
        """Bytes of the file now."""
        with self._opened() as handle:
            return os.fstat(handle).st_size

    def read(self, offset: int, count: int) -> bytes:
        """``count`` bytes from ``offset`` on.

        Raises
        ------
        SourceError
            If the file ends before.
        """
        with self._opened() as handle:
            size = os.fstat(handle).st_size
            if not 0 <= offset <= offset + count <= size:
                raise SourceError(f"{self.path} is truncated: bytes {offset} to {offset + count} were expected, the "
                                  f"file has {size}")
            return self._read(handle, offset, count)

    def _read(self, handle: int, offset: int, count: int) -> bytes:
        parts, left = list[bytes](), count
        while left > 0:
            part = self._pread(handle, left, offset + count - left)
            if not part:
                raise SourceError(f"{self.path} was cut short while it was read, at byte {offset + count - left}")
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _pread(self, handle: int, count: int, offset: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(handle, count, offset)
        with self._lock:  # Windows has one position for all threads
            os.lseek(handle, offset, os.SEEK_SET)
            return os.read(handle, count)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The handle that is kept, or one for this read."""
        with self._lock:
            if self._handle is None and FileBytes._held < HELD:
                self._handle = self._open()
                FileBytes._held += 1
        if self._handle is not None:
            yield self._handle
            return
        handle = self._open()
        try:
            yield handle
        finally:
            os.close(handle)

    def _open(self) -> int:
        return os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))


class ShortFile(FileBytes):
    """The bytes of a file that ends too early: zeros from a position on.

    Parameters
    ----------
    path
        The file.
    end
        The position.
    """

    def __init__(self, path: Path, end: int) -> None:
        super().__init__(path)
        self._end = end

    def __reduce__(self) -> tuple[type[ShortFile], tuple[Path, int]]:  # type: ignore[override]
        return type(self), (self.path, self._end)

    def read(self, offset: int, count: int) -> bytes:
        there = min(max(self._end - offset, 0), count)
        return (super().read(offset, there) if there else b"") + bytes(count - there)


def read_region(file: FileBytes, offset: int, shape: Sequence[int], dtype: np.dtype[Any], index: Index) -> Array:
    """A region of an array that lies in a file in C order.

    Parameters
    ----------
    file, offset
        The file, and the position at which the array begins.
    shape, dtype
        Shape and type of the array; ``dtype`` has the byte order of the file.
    index
        One slice an axis, with start < stop.

    Returns
    -------
    Array of the file's dtype.
    """
    out = np.empty([part.stop - part.start for part in index], dtype)
    strides = [dtype.itemsize * int(np.prod(shape[i + 1:], dtype=object)) for i in range(len(shape))]
    _fill(file, offset, strides, index, out)
    return out


def _fill(file: FileBytes, offset: int, strides: Sequence[int], index: Index, out: Array) -> None:
    """Read the region at once if that wastes little, else one step of the first axis after the other."""
    start = offset + sum(part.start * stride for part, stride in zip(index, strides, strict=True))
    span = sum((n - 1) * stride for n, stride in zip(out.shape, strides, strict=True)) + out.itemsize
    if span <= max(NEAR, WASTE * out.nbytes) or out.ndim <= 1:
        stored = file.read(start, span)
        out[...] = np.ndarray(out.shape, out.dtype, stored, strides=tuple(strides))
        return
    for place, at in enumerate(range(index[0].start, index[0].stop)):
        _fill(file, offset + at * strides[0], strides[1:], index[1:], out[place])
