"""Places of zarrs: functions that work on a local disk and on an object store."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import zarr

from tiler.errors import SourceError, TilerError
from tiler.ports import Json
from tiler.sources.files import existing
from tiler.sources.values import mapping_of, unusable
from tiler.sources.volume import one_line
from tiler.stores import asking
from tiler.stores.address import Address, Place

METADATA = ("zarr.json", ".zarray", ".zattrs")
ARRAYS = ("zarr.json", ".zarray")
GROUPS = ("zarr.json", ".zgroup")
CHEAP = 10_000
"""Number of objects up to which a listing is as fast as opening the volume: ten requests."""


def found(place: Place) -> Place:
    """The place itself, absolute.

    Raises
    ------
    SourceError
        If there is nothing on the local disk; an object store says so when it is read.
    """
    return place if isinstance(place, Address) else existing(place)


def node(place: Place) -> Any:
    """The zarr array or group.

    Raises
    ------
    SourceError
        If there is none that can be read.
    """
    try:
        if isinstance(place, Address):
            return zarr.open(store=asking("zarr_store").zarr_store(place, read_only=True), mode="r")
        return zarr.open(store=place, mode="r")
    except TilerError:
        raise
    except Exception as error:  # zarr's metadata errors have no common base
        reason = "there is none" if isinstance(place, Address) and isinstance(error, FileNotFoundError) \
            else one_line(error)
        raise SourceError(f"{place} is not a readable zarr array or group: {reason}") from error


def attributes_of(name: str, found: Any) -> Mapping[str, Any]:
    """Attributes of a zarr array or group; none, with a warning, where they are text, a number or a list."""
    stored = found.metadata.attributes
    if stored is not None and not isinstance(stored, Mapping):
        unusable(name, "attributes", stored, "an object")
    return mapping_of(stored)


def check_there(place: Place) -> None:
    """Refuse an array whose metadata have vanished since it was opened, on a local disk.

    Raises
    ------
    SourceError
        If they have.
    """
    if not isinstance(place, Address) and not any((place / name).exists() for name in ARRAYS):
        raise SourceError(f"{place} has vanished while it was read")


def is_group(place: Place) -> bool:
    return any(_content(place, name) is not None for name in GROUPS)


def parents(place: Place) -> Iterable[tuple[Place, str]]:
    """Parents of a place, the nearest first, and the path of the place in each."""
    if isinstance(place, Address):
        return ((parent, place.inside(parent)) for parent in place.parents)
    return ((parent, place.relative_to(parent).as_posix()) for parent in place.parents)


def identity(place: Place) -> Json:
    """A hash of the metadata, and one of the names, sizes and times (or ETags) of the chunks.

    Those of an object store are left out where a listing is not cheap, or not to be had (https).
    """
    check_there(place)
    metadata = hashlib.sha256()
    for name in METADATA:
        metadata.update(_content(place, name) or b"\0")
    told = {"kind": "zarr", "path": str(place), "metadata": metadata.hexdigest()}
    if not isinstance(place, Address):
        return {**told, "listing": listing_hash(place)}
    if not place.writable:
        return told
    entries = list(asking().listing(place, CHEAP))
    listed = _digest((each.key, each.size, each.etag) for each in entries)
    return told if len(entries) > CHEAP else {**told, "listing": listed}


def listing_hash(folder: Path) -> str:
    """Hash of the names, sizes and times of all files below a folder."""
    return _digest(_listing(folder, ""))


def _digest(entries: Iterable[tuple[str, int, Any]]) -> str:
    listing = hashlib.sha256()
    for entry in entries:
        listing.update(json.dumps(entry).encode())
    return listing.hexdigest()


def _content(place: Place, name: str) -> bytes | None:
    if isinstance(place, Address):
        stored = asking().get(place / name)
        return None if stored is None else bytes(stored.content)
    file = place / name
    return file.read_bytes() if file.exists() else None


def _listing(folder: Path, prefix: str) -> Iterator[tuple[str, int, int]]:
    """Key, size and modification time of every file, in the order of the names."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                yield from _listing(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                status = entry.stat()
                yield prefix + entry.name, status.st_size, status.st_mtime_ns
