"""A zarr group on a local disk: under its partial name until it is whole, its files made durable one by one."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.storage import LocalStore

from tiler.ports import Json
from tiler.sinks.layout import Index
from tiler.sinks.target import PARTIAL, Target, remove
from tiler.stores.durable import sync
from tiler.stores.label_places import METADATA


class Folder:
    """Where a local output is kept: a `tiler.sinks.zarr.Keeping`.

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
        return LocalStore(self.target.partial)

    def stored(self) -> Store:
        return LocalStore(self.target.path, read_only=True)

    def drafted(self, attributes: Json) -> Json:
        """Its name says that it is not whole; its metadata need not."""
        return attributes

    def open(self) -> tuple[Store, bool]:
        self._opened = self.target.current
        return LocalStore(self._opened), self._opened == self.target.partial

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
        root = (self._opened or self.target.partial) / part
        sizes = array.shards or array.chunks
        ranges = [range(part.start // size, -(-part.stop // size)) for part, size in zip(index, sizes, strict=True)]
        files = [root / array.metadata.encode_chunk_key(cell) for cell in product(*ranges)]
        stored = [file for file in files if file.exists()]
        for file in stored:
            sync(file)
        for folder in {file.parent for file in stored}:
            sync(folder)
            self._sync_names(folder, root)

    def _sync_names(self, folder: Path, root: Path) -> None:
        """A folder may be as new as its files: its name, and those above it, are synced once each."""
        chain = [folder, *folder.parents]
        chain = [new for new in chain[:chain.index(root)] if new not in self._known]
        for new in chain:
            sync(new.parent)
        self._known.update(chain)

    def promote(self) -> None:
        # What zarr was writing to when an earlier run was killed; that chunk has been written again since.
        for left in self.target.partial.rglob(f"*{PARTIAL}"):
            left.unlink()
        self.target.promote()
