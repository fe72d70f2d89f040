"""Keeping of outputs on a local disk or on an object store, before and after they are whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from zarr.abc.store import Store

from tiler.ports import Json
from tiler.sinks.layout import Index
from tiler.sinks.zarr_files import Folder
from tiler.sinks.zarr_objects import Objects
from tiler.stores.address import Place, by_place


class Keeping(Protocol):
    """The place of a group, which knows whether the group is whole.

    Attributes
    ----------
    in_place
        Whether an older output is gone as soon as a new one is begun; else it stays until it is replaced.
    """

    in_place: bool

    @property
    def name(self) -> str: ...
    @property
    def draft_name(self) -> str:
        """Its name until it is whole."""
        ...

    @property
    def unfinished(self) -> bool:
        """Whether there is one that is not whole."""
        ...

    @property
    def whole(self) -> bool:
        """Whether there is anything under the final name."""
        ...

    @property
    def stale(self) -> bool:
        """Whether it was not opened, or was finished by another sink since."""
        ...

    def check(self) -> None:
        """Refuse a name under which nothing can be made."""
        ...

    def prepare(self) -> None:
        """Make room for a new one."""
        ...

    def draft(self) -> Store:
        """The store of an unfinished group, to be written."""
        ...

    def stored(self) -> Store:
        """The store of a finished group, to be read."""
        ...

    def drafted(self, attributes: Json) -> Json:
        """The group's attributes as they are until it is whole."""
        ...

    def open(self) -> tuple[Store, bool]:
        """The store of what there is, and whether it may be written."""
        ...

    def close(self) -> None: ...
    def discard(self, part: str = "") -> None:
        """Remove one array of an unfinished group, or all of it; a finished one stays."""
        ...

    def sync_metadata(self, part: str = "") -> None:
        """Make what the group or one array says of itself durable, and its name."""
        ...

    def sync_chunks(self, part: str, array: Any, index: Index) -> None:
        """Make all chunks (or shards) that a slice of an array touches durable, and their names."""
        ...

    def stamp(self, part: str, array: Any, index: Index) -> str:
        """Changes whenever a chunk that a slice of an array touches changes; "" where nothing shows that."""
        ...

    def marks(self, parts: Sequence[str]) -> dict[str, str]:
        """Hashes of the metadata of a finished group and of some of its arrays, and of which chunks those have."""
        ...

    def promote(self) -> None:
        """Give a complete output its final name; may be called again."""
        ...


def keeping_of(place: Place) -> Keeping:
    """On a local disk, or on an object store."""
    keeping: Keeping = by_place(place, Folder, Objects)
    return keeping
