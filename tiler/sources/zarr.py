"""zarr, versions 2 and 3: arrays, and groups with OME-NGFF images."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.sources.array import ArrayImage, open_array
from tiler.sources.files import existing
from tiler.sources.ngff import labels_of, multiscale_of, ome_of, refuse_plate
from tiler.sources.raw import Header, Index, Lazy, unknown_axes
from tiler.sources.volume import one_line

METADATA = ("zarr.json", ".zarray", ".zattrs")
DEEPEST = 8  # parents of an array that are looked through for the image it is a level of


@dataclass(frozen=True, slots=True)
class ZarrImage:
    """An array on a local disk. Chunks that are missing read as the fill value."""

    header: Header
    path: Path
    handle: Lazy[Any] = field(repr=False)

    def fetch(self, index: Index) -> Array:
        return np.asarray(self.handle()[index])

    def identity(self) -> Json:
        """A hash of the metadata, and one of the names, sizes and times of the chunks."""
        metadata = hashlib.sha256()
        for name in METADATA:
            file = self.path / name
            metadata.update(file.read_bytes() if file.exists() else b"\0")
        listing = hashlib.sha256()
        for entry in _listing(self.path, ""):
            listing.update(json.dumps(entry).encode())
        return {"kind": "zarr", "path": str(self.path), "metadata": metadata.hexdigest(),
                "listing": listing.hexdigest()}


def _listing(folder: Path, prefix: str) -> Iterator[tuple[str, int, int]]:
    """Key, size and modification time of every file, in the order of the names."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                yield from _listing(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                status = entry.stat()
                yield prefix + entry.name, status.st_size, status.st_mtime_ns


def open_zarr(path: Path) -> ZarrImage:
    """Open an array, or level 0 of an OME-NGFF image; reads metadata only.

    Parameters
    ----------
    path
        Of an array or group, also inside another group (``volume.zarr/0``).

    Raises
    ------
    SourceError
        If there is none, or more than one image to choose from.
    """
    given = existing(path)
    path = _finest(given)
    handle: Lazy[Any] = Lazy(partial(_node, path))
    array = handle()
    return ZarrImage(_described(path, _plain(str(given), array)), path, handle)


def open_zarr_array(array: Any) -> ZarrImage | ArrayImage:
    """An array that is open already: reopened by path where it lies on a local disk, else taken as it is."""
    if isinstance(array, zarr.Array) and isinstance(array.store, LocalStore):
        return open_zarr(Path(array.store.root) / array.path)
    return open_array(array)


def _node(path: Path) -> Any:
    try:
        return zarr.open(store=path, mode="r")
    except Exception as error:  # zarr's metadata errors have no common base
        raise SourceError(f"{path} is not a readable zarr array or group: {one_line(error)}") from error


def _finest(path: Path) -> Path:
    """The array itself, or level 0 of the group's first image, or of its only label image."""
    node = _node(path)
    if isinstance(node, zarr.Array):
        return path
    attributes = dict(node.attrs)
    refuse_plate(str(path), attributes)
    image = multiscale_of(attributes)
    if image is not None:
        return path / image.paths[0]
    if "bioformats2raw.layout" in ome_of(attributes):  # a folder of images, numbered from 0
        return _finest(path / "0")
    labels = labels_of(attributes)
    if labels is not None:
        return _finest(path / _only(path, labels))
    arrays = sorted(node.array_keys())
    inside = f"it holds the arrays {', '.join(arrays)}: give one, such as {path / arrays[0]}" if arrays else \
        "and no arrays"
    raise SourceError(f"{path} is a zarr group without OME-NGFF images; {inside}")


def _only(path: Path, labels: list[str]) -> str:
    """The one image of a group of labels."""
    if len(labels) == 1:
        return labels[0]
    one = f"the images {', '.join(labels)}: give one, such as {path / labels[0]}" if labels else "no images"
    raise SourceError(f"{path} is a group of labels that holds {one}")


def _plain(name: str, array: Any) -> Header:
    """What the array itself says: zarr 3 names its dimensions, and xarray names those of zarr 2."""
    if not isinstance(array, zarr.Array):
        raise SourceError(f"{name} is not a zarr array")
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    letters = "".join(str(name).lower() for name in names) if isinstance(names, (list, tuple)) else ""
    named = len(letters) == array.ndim and {"y", "x"} <= set(letters) <= set("tczyx")
    return Header.plain(name=name, shape=array.shape, dtype=np.dtype(array.dtype), chunk=tuple(array.chunks),
                        axes=letters if named else unknown_axes(array.ndim))


def _described(path: Path, header: Header) -> Header:
    """What the image that the array is a level of says, if there is one above it."""
    for group in list(path.parents)[:DEEPEST]:
        if not any((group / name).exists() for name in ("zarr.json", ".zgroup")):
            break
        image = multiscale_of(dict(_node(group).attrs))
        inside = path.relative_to(group).as_posix()
        if image is not None and inside in image.paths:
            return image.describe(header, inside)
    return header
