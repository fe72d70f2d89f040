"""Existing chunks of a zarr array, and the scheme of their names.

A chunk that does not exist is the fill value, so that an array whose chunks are all gone, or lie under names with
another separator than its metadata tell, would read as nothing but that value, without an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import zarr
from zarr.core.metadata.v2 import ArrayV2Metadata
from zarr.storage import StorePath

from tiler.errors import SourceError
from tiler.sources.raw import Index
from tiler.stores import asking
from tiler.stores.address import Address, Place

MOST = 50_000
"""Names that are looked at before an array is opened."""
FEW = 10_000
"""Chunks of a region that are looked for one by one."""
ENCODINGS = {"0.0": ("", "."), "0/0": ("", "/"), "c.0.0": ("c.", "."), "c/0/0": ("c/", "/")}
"""Kinds of names: what stands before the numbers, and between them."""


@dataclass(frozen=True, slots=True)
class Names:
    """Which kinds of names the chunks of an array have.

    Parameters
    ----------
    told
        Naming scheme in the metadata.
    found
        Naming schemes of the existing chunks.
    """

    told: str
    found: frozenset[str]


def names_of_chunks(place: Place, array: Any) -> Names | None:
    """The kinds of names under which chunks are there; None where the store cannot list."""
    keys = _keys(place)
    if keys is None:
        return None
    patterns = {kind: _pattern(kind, array.ndim) for kind in _kinds(array)}
    told = kind_of(array)
    found: set[str] = set()
    for key in islice(keys, MOST):
        found |= {kind for kind, pattern in patterns.items() if pattern.fullmatch(key)}
        if found == set(patterns):
            break
    return Names(told, frozenset(found if array.ndim > 1 else found and {told}))


def kind_of(array: Any) -> str:
    """The kind of names that an array's metadata tell."""
    key = array.metadata.encode_chunk_key((0, 0))
    return key if key in ENCODINGS else "0.0"


def _kinds(array: Any) -> list[str]:
    return [kind for kind in ENCODINGS if not (isinstance(array.metadata, ArrayV2Metadata) and kind.startswith("c"))]


def _pattern(kind: str, ndim: int) -> re.Pattern[str]:
    start, separator = ENCODINGS[kind]
    return re.compile(re.escape(start) + r"\d+" + (re.escape(separator) + r"\d+") * (ndim - 1))


def _keys(place: Place) -> Iterable[str] | None:
    if not isinstance(place, Address):
        return _local(place, "")
    return (each.key for each in asking().listing(place, FEW)) if place.writable else None


def _local(folder: Path, prefix: str) -> Iterator[str]:
    """Keys of the files below a folder, as far as they are called like chunks."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not (entry.name[0].isdigit() or entry.name[0] == "c"):
                continue
            if entry.is_dir():
                yield from _local(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


def reopened(name: str, place: Place, array: Any, kind: str) -> Any:
    """The same array with another kind of names of its chunks.

    Raises
    ------
    SourceError
        If zarr cannot read it so.
    """
    start, separator = ENCODINGS[kind]
    told = array.metadata.to_dict()
    if isinstance(array.metadata, ArrayV2Metadata):
        told["dimension_separator"] = separator
    else:
        told["chunk_key_encoding"] = {"name": "default" if start else "v2", "configuration": {"separator": separator}}
    try:
        return zarr.Array(zarr.AsyncArray(type(array.metadata).from_dict(told), _path(array)))
    except Exception as error:  # zarr's metadata errors have no common base
        raise SourceError(f"{name}: its chunks are called like {kind}, which zarr cannot read: {error}") from error


def _path(array: Any) -> StorePath:
    path: StorePath = array.store_path
    return path


def holds(place: Place, array: Any, index: Index) -> bool:
    """Whether there is any chunk (or shard) of a region; True where that would take long to find out."""
    if isinstance(place, Address):
        return True
    sizes = getattr(array, "shards", None) or array.chunks
    ranges = [range(part.start // size, -(-part.stop // size)) for part, size in zip(index, sizes, strict=True)]
    for number, cell in enumerate(product(*ranges)):
        if number >= FEW or (place / array.metadata.encode_chunk_key(cell)).exists():
            return True
    return False
