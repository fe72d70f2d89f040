"""zarr v3, as an OME-NGFF 0.5 group with level 0."""

from __future__ import annotations

import math
import threading
from itertools import product
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore

from tiler.errors import SinkError
from tiler.geometry import Box, Shape
from tiler.ports import Array, Json, OutputSpec
from tiler.sinks.layout import Index, Layout, check_block, check_box
from tiler.sinks.ngff import ome_attributes
from tiler.sinks.target import Target, provenance, sync, writing

LEVEL = "0"
# A block of zeros is stored like any other, so that it can be synced.
KEEP_EMPTY: Any = {"write_empty_chunks": True}


class ZarrSink:
    """A zarr group on a local disk.

    Parameters
    ----------
    path
        Final name of the output.
    spec
        What is written.
    """

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        self.spec = spec
        self.layout = Layout.of(spec)
        self.target = Target(path)
        self.target.check_parent()
        self._lock = threading.Lock()
        self._array: Any = None
        self._path = path
        self._known: set[Path] = set()

    def __reduce__(self) -> tuple[type, tuple[Path, OutputSpec]]:
        return type(self), (self.target.path, self.spec)

    @property
    def name(self) -> str:
        return str(self.target.path)

    @property
    def write_unit(self) -> Shape:
        """The shard, else the chunk: what is encoded together."""
        z, y, x = self.spec.shard or self.spec.chunk
        return self._depth(z), y, x

    def create(self) -> None:
        """Make the group and its empty array under the partial name."""
        self._close()
        with writing(self.target.partial):
            self.target.prepare()
            name = self.target.path.name.removesuffix(self.target.path.suffix).removesuffix(".ome")
            attributes = {"ome": ome_attributes(name, self.spec, self.layout, LEVEL),
                          "tiler": provenance(self.spec.kind, self.spec.classes, {})}
            group = zarr.create_group(LocalStore(self.target.partial), zarr_format=3, attributes=attributes)
            group.create_array(LEVEL, shape=self.layout.shape, dtype=self.spec.dtype, fill_value=0,
                               chunks=self._stored(self.spec.chunk, 1),
                               shards=self.spec.shard and self._stored(self.spec.shard, self.spec.shape[0]),
                               dimension_names=self.layout.axes, config=KEEP_EMPTY)
            for path in ("zarr.json", f"{LEVEL}/zarr.json", LEVEL, "."):
                sync(self.target.partial / path)
            sync(self.target.path.parent)

    def write(self, box: Box, data: Array) -> None:
        """Store ``data`` ``(c, *box.shape)``; durable when it returns. Safe from several threads."""
        check_block(self.name, self.spec, box, data)
        with writing(self.target.partial):
            array = self._open()
            if self._path != self.target.partial:
                raise SinkError(f"{self.name} is finished: nothing more can be written to it")
            self.layout.store(array, box, data)
            for index, _ in self.layout.pieces(box):
                sync_chunks(self._path / LEVEL, array, index, self._known)

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)`` as stored, from the partial or the finished output."""
        check_box(self.name, self.spec.shape, box)
        return self.layout.load(self._open(), box)

    def finish(self, attributes: Json) -> None:
        """Store the provenance in the group, then give it its final name; may be called again."""
        self._close()
        partial = self.target.partial
        with writing(self.target.path):
            if partial.exists():
                group = zarr.open_group(LocalStore(partial), mode="r+")
                group.update_attributes({"tiler": dict(provenance(self.spec.kind, self.spec.classes, attributes))})
                sync(partial / "zarr.json")
                sync(partial)
            self.target.promote()

    def _depth(self, z: int) -> int:
        """Length of chunks along z: where z is time and depth, chunks may not straddle two time points."""
        return math.gcd(z, self.layout.sizes[-1]) if len(self.layout.sizes) > 1 else z

    def _stored(self, chunk: Shape, channels: int) -> tuple[int, ...]:
        """A chunk in the array's axes."""
        z, y, x = chunk
        lead = (1,) * (len(self.layout.sizes) - 1) + (self._depth(z),) if self.layout.sizes else ()
        return self.layout.with_channels((*lead, y, x), channels)

    def _open(self) -> Any:
        with self._lock:
            if self._array is None or not self._path.exists():  # finished by another sink meanwhile
                self._path = self.target.current
                mode = "r+" if self._path == self.target.partial else "r"
                try:
                    found = zarr.open_array(LocalStore(self._path), path=LEVEL, mode=mode)
                except (FileNotFoundError, ValueError) as error:
                    raise SinkError(f"{self._path} is not an output of tiler: {error}") from error
                self._array = found.with_config(KEEP_EMPTY)
            return self._array

    def _close(self) -> None:
        with self._lock:
            self._array = None
            self._known = set()


def sync_chunks(root: Path, array: Any, index: Index, known: set[Path]) -> None:
    """Make the files of all chunks (or shards) that a slice of the array touches durable, and their names.

    Parameters
    ----------
    root
        Folder of the array.
    array
        A zarr array.
    index
        The slice, one entry an axis.
    known
        Folders whose own names are known to be durable; completed.
    """
    sizes = array.shards or array.chunks
    ranges = [range(part.start // size, -(-part.stop // size)) for part, size in zip(index, sizes, strict=True)]
    files = [root / array.metadata.encode_chunk_key(cell) for cell in product(*ranges)]
    stored = [file for file in files if file.exists()]
    for file in stored:
        sync(file)
    for folder in {file.parent for file in stored}:
        sync(folder)
        _sync_names(folder, root, known)


def _sync_names(folder: Path, root: Path, known: set[Path]) -> None:
    """A folder may be as new as its files: its name, and those above it, are synced once each."""
    chain = [folder, *folder.parents]
    chain = [new for new in chain[:chain.index(root)] if new not in known]
    for new in chain:
        sync(new.parent)
    known.update(chain)


def stored_attributes(path: Path) -> Json | None:
    """The provenance in a group; None where it has none."""
    try:
        found = zarr.open_group(LocalStore(path), mode="r").attrs.get("tiler")
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None
