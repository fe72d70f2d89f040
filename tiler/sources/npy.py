"""``.npy`` files, read by position; what tiler wrote beside one (``NAME.npy.tiler.json``) is taken into account."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.ports.units import unit_of
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.files import existing, file_identity
from tiler.sources.positions import FileBytes, read_region
from tiler.sources.raw import Header, Index
from tiler.sources.values import mapping_of, names_of, offsets_of, sizes_of
from tiler.sources.volume import one_line


@dataclass(frozen=True, slots=True)
class NpyImage:
    """The array of a ``.npy`` file.

    Parameters
    ----------
    header
        Metadata of the array.
    path
        The file.
    file
        Its bytes.
    start
        Position of the first voxel in the file, in bytes.
    fortran
        Whether the first axis is the fastest.
    """

    header: Header
    path: Path
    file: FileBytes = field(repr=False)
    start: int
    fortran: bool

    def fetch(self, index: Index) -> Array:
        shape, dtype = self.header.shape, self.header.dtype
        if self.fortran:
            return read_region(self.file, self.start, shape[::-1], dtype, index[::-1]).T
        return read_region(self.file, self.start, shape, dtype, index)

    def identity(self) -> Json:
        return file_identity(self.path)


def open_npy(path: Path, consent: Consent = REFUSED) -> NpyImage:
    """Read the header of a ``.npy`` file.

    Raises
    ------
    SourceError
        If the file does not exist, is truncated, or holds Python objects.
    """
    path = existing(path)
    try:
        with path.open("rb") as opened:
            shape, fortran, dtype = _header(opened)
            start = opened.tell()
    except SourceError:
        raise
    except Exception as error:  # a damaged header raises whatever Python's parser makes of it
        raise SourceError(f"{path} is not a readable .npy file: {one_line(error)}") from error
    if any(size < 0 for size in shape):
        raise SourceError(f"{path} is not a readable .npy file: its header tells the shape {shape}")
    if dtype.hasobject:
        raise SourceError(f"{path} is not a readable .npy file: it holds Python objects")
    file = FileBytes(path)
    end = start + math.prod(shape) * dtype.itemsize
    if end > file.size:
        raise SourceError(f"{path} is not a readable .npy file: it is truncated: an array of shape {shape} and dtype "
                          f"{dtype} ends at byte {end}, the file at {file.size}")
    header = Header.plain(name=str(path), shape=shape, dtype=dtype)
    return NpyImage(_described(header, path), path, file, start, fortran)


def _header(opened: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the first axis is the fastest, and dtype."""
    version = np.lib.format.read_magic(opened)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(opened)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(opened)
    if version == (3, 0):
        read: Any = np.lib.format._read_array_header  # type: ignore[attr-defined]  # 3.0 has no public reader
        return read(opened, version=version)  # type: ignore[no-any-return]
    raise ValueError(f"version {version} of the format is not known")


def _described(header: Header, path: Path) -> Header:
    """The header with axes, sizes and channels that stand beside the file, if they are those of this array."""
    beside = path.with_name(f"{path.name}.tiler.json")
    try:
        told = mapping_of(mapping_of(json.loads(beside.read_text(encoding="utf-8"))).get("array"))
    except (OSError, ValueError, RecursionError):
        return header
    ndim, axes, name = len(header.shape), told.get("axes"), str(beside)
    if told.get("shape") != list(header.shape) or not isinstance(axes, str) or len(axes) != ndim:
        return header
    scale = sizes_of(name, "scale", told.get("scale"), [ndim]) or (None,) * ndim
    units = told.get("units")
    units = units if isinstance(units, list) and len(units) == ndim else [None] * ndim
    return replace(header, axes=axes, scale=tuple(size or 1.0 for size in scale),
                   units=tuple(unit_of(unit) for unit in units),
                   offset=offsets_of(name, "offset", told.get("offset"), ndim) or header.offset,
                   channels=names_of(told.get("channels")))
