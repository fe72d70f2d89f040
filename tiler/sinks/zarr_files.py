"""A zarr group on a local disk: under its partial name until it is whole, its files made durable one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from tiler.ports import Json
from tiler.sinks.chunked import cells_of
from tiler.sinks.inspection import mark_of, mark_of_folder, pieces, stamp_of
from tiler.sinks.layout import Index
from tiler.sinks.target import PARTIAL, Target, remove
from tiler.stores.durable import replace_durably, sync, sync_names
from tiler.stores.label_places import METADATA


class DurableStore(LocalStore):
    """A zarr store on a disk whose metadata is whole on the disk before it replaces older metadata.

    zarr's own store renames a new file that may not be on the disk yet, so that it is empty after a loss of power.
    """

    async def set(self, key: str, value: Buffer) -> None:
        if key.rpartition("/")[2] not in METADATA:
            return await super().set(key, value)
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(replace_durably, path, value.to_bytes())
        return None


class Folder:
    """A zarr group on a disk: a `tiler.sinks.keeping.Keeping`.

    Parameters
    ----------
    path
        Final name of the output.
    """

    in_place = False

    def __init__(self, path: Path) -> None:
        self.target = Target(path)
        self._opened: Path | None = None
        self._known: set[Path] = set()  # folders whose own names are durable

    @property
    def name(self) -> str:
        return str(self.target.path)

    @property
    def draft_name(self) -> str:
        return str(self.target.partial)

    @property
    def unfinished(self) -> bool:
        return self.target.partial.exists()

    @property
    def whole(self) -> bool:
        return self.target.path.exists()

    def check(self) -> None:
        self.target.check_parent()

    def prepare(self) -> None:
        self.close()
        self.target.prepare()

    def draft(self) -> Store:
        return DurableStore(self.target.partial)

    def stored(self) -> Store:
        return LocalStore(self.target.path, read_only=True)

    def drafted(self, attributes: Json) -> Json:
        """Its name says that it is not whole; its metadata need not."""
        return attributes

    def open(self) -> tuple[Store, bool]:
        self._opened = self.target.current
        return DurableStore(self._opened), self._opened == self.target.partial

    @property
    def stale(self) -> bool:
        return self._opened is None or not self._opened.exists()

    def close(self) -> None:
        self._opened, self._known = None, set()

    def discard(self, part: str = "") -> None:
        remove(self.target.partial / part)
        self._known = set()

    def sync_metadata(self, part: str = "") -> None:
        folder = self.target.partial / part
        for file in (folder / name for name in METADATA):
            if file.exists():
                sync(file)
        sync(folder)
        sync(folder.parent)

    def sync_chunks(self, part: str, array: Any, index: Index) -> None:
        root = self._root(part)
        stored = [file for file in self._files(root, array, index) if file.exists()]
        for file in stored:
            sync(file)
        for folder in {file.parent for file in stored}:
            sync(folder)
            sync_names(folder, root, self._known)

    def stamp(self, part: str, array: Any, index: Index) -> str:
        return stamp_of(self._files(self._root(part), array, index))

    def marks(self, parts: Sequence[str]) -> dict[str, str]:
        root = self.target.path
        found: dict[str, str] = {}
        for part in ("", *parts):
            files = [root / part / name for name in METADATA]
            found |= {file.relative_to(root).as_posix(): mark_of(pieces(file)) for file in files if file.exists()}
        return found | {f"{part}: list of its chunks": mark_of_folder(root / part) for part in parts}

    def _root(self, part: str) -> Path:
        return (self._opened or self.target.partial) / part

    def _files(self, root: Path, array: Any, index: Index) -> list[Path]:
        """The chunks, or shards, that a slice of an array touches."""
        cells = cells_of(index, array.shards or array.chunks)
        return [root / array.metadata.encode_chunk_key(cell) for cell in cells]

    def promote(self) -> None:
        # What zarr was writing to when an earlier run was killed; that chunk has been written again since.
        for left in self.target.partial.rglob(f"*{PARTIAL}"):
            left.unlink()
        self.target.promote()
