"""A zarr group on an object store, where nothing can be renamed: an unfinished group says so in its attributes.

An unfinished group carries ``tiler: {unfinished: true}`` and nothing that makes it an image for other programs. The
one write with which `finish` replaces its attributes is what makes it whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from zarr.abc.store import Store

from tiler.errors import SinkError
from tiler.ports import Json
from tiler.sinks.inspection import mark_of
from tiler.sinks.layout import Index
from tiler.stores import asking
from tiler.stores.address import Address
from tiler.stores.label_places import METADATA

MARK = "unfinished"


class Objects:
    """A zarr group on an object store: a `tiler.sinks.keeping.Keeping`.

    Parameters
    ----------
    address
        Address of the output.
    """

    in_place = True

    def __init__(self, address: Address) -> None:
        self.address = address
        self._opened = False

    @property
    def name(self) -> str:
        return str(self.address)

    @property
    def draft_name(self) -> str:
        return self.name

    @property
    def unfinished(self) -> bool:
        return is_marked(self.address)

    @property
    def whole(self) -> bool:
        return is_whole(self.address)

    def check(self) -> None:
        if not self.address.writable:
            raise SinkError(f"{self.address}: {self.address.scheme}:// is read, not written: give s3:// or gs://",
                            option="output")
        asking()

    def prepare(self) -> None:
        """The group's metadata go first: without its chunks an older output must not look whole."""
        self.close()
        objects = asking()
        for name in METADATA:
            objects.delete(self.address / name)
        objects.remove(self.address)

    def draft(self) -> Store:
        store: Store = asking("zarr_store").zarr_store(self.address, read_only=False)
        return store

    def stored(self) -> Store:
        store: Store = asking("zarr_store").zarr_store(self.address, read_only=True)
        return store

    def drafted(self, attributes: Json) -> Json:
        """Attributes of the group until it is whole, which describe neither an image nor labels."""
        return {"tiler": {**attributes["tiler"], MARK: True}}

    def open(self) -> tuple[Store, bool]:
        if not asking().exists(self.address):
            raise SinkError(f"{self.address} does not exist")
        unfinished, self._opened = self.unfinished, True
        return asking("zarr_store").zarr_store(self.address, read_only=not unfinished), unfinished

    @property
    def stale(self) -> bool:
        """Once opened it is not looked at again: each look is a request."""
        return not self._opened

    def close(self) -> None:
        self._opened = False

    def discard(self, part: str = "") -> None:
        if part:
            asking().remove(self.address / part)
        elif self.unfinished:
            asking().remove(self.address)

    def sync_metadata(self, part: str = "") -> None:
        """Nothing to do: objects that a store has accepted are durable."""

    def sync_chunks(self, part: str, array: Any, index: Index) -> None:
        """Nothing to do, likewise."""

    def stamp(self, part: str, array: Any, index: Index) -> str:
        """Unknown: asking would take a request for each chunk."""
        return ""

    def marks(self, parts: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in ("", *parts):
            names = [f"{part}/{name}" if part else name for name in METADATA]
            stored = asking().get_all([self.address / name for name in names])
            found |= {name: mark_of(each.content) for name, each in zip(names, stored, strict=True) if each is not None}
        for part in parts:
            listed = asking().listing(self.address / part)
            found[f"{part}: list of its chunks"] = mark_of(f"{each.key} {each.size};".encode() for each in listed)
        return found

    def promote(self) -> None:
        if not is_whole(self.address):
            raise SinkError(f"cannot finish {self.address}: it does not exist")


def is_marked(address: Address) -> bool:
    """Whether there is an output that is not whole."""
    return MARK in _provenance(address)


def is_whole(address: Address) -> bool:
    """Whether there is anything that is not marked so."""
    return not is_marked(address) and bool(asking().exists(address))


def _provenance(address: Address) -> Mapping[str, Any]:
    for name in METADATA[:2]:
        found = asking().get(address / name)
        if found is not None:
            try:
                content = json.loads(found.content)
                told = content.get("attributes", content).get("tiler", {})
            except (ValueError, AttributeError):
                return {}
            return told if isinstance(told, dict) else {}
    return {}
