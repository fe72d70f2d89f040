"""Named sets of arrays that one stage of a run leaves for the next: in memory, in a folder, or on an object store.

A set is one npz, durable when `put` returns, and replaced as a whole. Its arrays are unpacked one by one.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tiler.errors import SinkError
from tiler.stores import asking
from tiler.stores.address import Address, Place, by_place
from tiler.stores.durable import replace_durably, sync

Array = npt.NDArray[Any]


class Shelf(Protocol):
    """Where sets of arrays lie. Picklable, unless in memory."""

    def put(self, name: str, arrays: Mapping[str, Array]) -> None:
        """Store a set, durably; replaces one of that name. Safe from several threads for different names."""
        ...

    def get(self, name: str) -> Mapping[str, Array]:
        """The set of that name; each array is unpacked when it is asked for."""
        ...

    def clear(self) -> None:
        """Remove all sets."""
        ...


def shelf_at(place: Place | None) -> Shelf:
    """The shelf in a folder or below an address; None for memory. Nothing is made before the first `put`."""
    if place is None:
        return MemoryShelf()
    shelf: Shelf = by_place(place.absolute(), FolderShelf, ObjectShelf)
    return shelf


@dataclass(frozen=True, slots=True)
class MemoryShelf:
    """In the memory of this process."""

    sets: dict[str, dict[str, Array]] = field(default_factory=dict)

    def __reduce__(self) -> str:
        raise SinkError("what is kept in memory cannot be seen by another process: give an output path (`output`), or "
                        "use threads", option="executor")

    def put(self, name: str, arrays: Mapping[str, Array]) -> None:
        self.sets[name] = {key: array.copy() for key, array in arrays.items()}

    def get(self, name: str) -> Mapping[str, Array]:
        return self.sets[name]

    def clear(self) -> None:
        self.sets.clear()


@dataclass(frozen=True, slots=True)
class FolderShelf:
    """In a folder of a local disk."""

    folder: Path

    def put(self, name: str, arrays: Mapping[str, Array]) -> None:
        path = self.folder / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, packed(arrays), shared=True)
        for holder in path.parents[1:len(path.relative_to(self.folder.parents[1]).parts)]:
            sync(holder)  # the folders may be as new as the file

    def get(self, name: str) -> Mapping[str, Array]:
        path = self.folder / f"{name}.npz"
        try:
            return unpacked(path.read_bytes())
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise lost(path, error) from error

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class ObjectShelf:
    """Below an address of an object store."""

    address: Address

    def put(self, name: str, arrays: Mapping[str, Array]) -> None:
        asking().put(self.address / f"{name}.npz", packed(arrays))

    def get(self, name: str) -> Mapping[str, Array]:
        found = asking().get(self.address / f"{name}.npz")
        if found is None:
            raise lost(self.address / f"{name}.npz", "it does not exist")
        return unpacked(found.content)

    def clear(self) -> None:
        asking().remove(self.address)


def lost(place: Place, reason: object) -> SinkError:
    """The refusal of a run that needs a set which is gone or damaged."""
    return SinkError(f"{place}, which a stage of this run left for the next, cannot be read "
                     f"({' '.join(str(reason).split())}): `overwrite=True` starts the run anew")


def packed(arrays: Mapping[str, Array]) -> bytes:
    """An npz, compressed for speed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def unpacked(content: bytes) -> Mapping[str, Array]:
    """The arrays of an npz in memory, each decoded when it is asked for."""
    arrays: Mapping[str, Array] = np.load(io.BytesIO(content), allow_pickle=False)
    return arrays
