"""``.npy`` files, memory-mapped; what tiler has told of one beside it (``NAME.npy.tiler.json``) is heeded."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.sources.files import existing, file_identity
from tiler.sources.raw import Header, Index, Lazy
from tiler.sources.volume import one_line


@dataclass(frozen=True, slots=True)
class NpyImage:
    """The array of a ``.npy`` file."""

    header: Header
    path: Path
    handle: Lazy[Array] = field(repr=False)

    def fetch(self, index: Index) -> Array:
        return np.array(self.handle()[index])  # a copy, so that the disk is read here and not in the caller

    def identity(self) -> Json:
        return file_identity(self.path)


def open_npy(path: Path) -> NpyImage:
    """Map a ``.npy`` file.

    Raises
    ------
    SourceError
        If it is missing, truncated, or holds Python objects.
    """
    path = existing(path)
    handle = Lazy(partial(_map, path))
    array = handle()
    header = Header.plain(name=str(path), shape=array.shape, dtype=array.dtype)
    return NpyImage(_described(header, path), path, handle)


def _described(header: Header, path: Path) -> Header:
    """The header with axes, sizes and channels that stand beside the file, if they are those of this array."""
    beside = path.with_name(f"{path.name}.tiler.json")
    try:
        told = json.loads(beside.read_text(encoding="utf-8")).get("array", {})
    except (OSError, ValueError):
        return header
    if tuple(told.get("shape", ())) != header.shape:
        return header
    return replace(header, axes=told["axes"], scale=tuple(told["scale"]), units=tuple(told["units"]),
                   offset=tuple(told["offset"]), channels=tuple(told["channels"]))


def _map(path: Path) -> Array:
    try:
        mapped: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise SourceError(f"{path} is not a readable .npy file: {one_line(error)}") from error
    return mapped
