"""zarr as OME-NGFF: a group of the full array and coarser levels of it."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore

from tiler.errors import SinkError
from tiler.geometry import Box, Shape
from tiler.ports import Array, Json, OutputSpec
from tiler.sinks.layout import Layout, check_block, check_box
from tiler.sinks.ngff import ZARR_FORMATS, check_version, ome_attributes
from tiler.sinks.pyramid import Level, fill_level, levels_of
from tiler.sinks.target import Target, provenance, remove, writing
from tiler.sinks.zarr_files import sync_chunks, sync_metadata

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

    Raises
    ------
    SinkError
        For a spec that contradicts itself, an unknown version of OME-NGFF, or a parent that is a file.
    """

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        check_version(str(path), spec.ngff)
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
        z, y, x = self._shard or self.spec.chunk
        return self._depth(z), y, x

    def create(self) -> None:
        """Make the group and its empty array under the partial name."""
        self._close()
        with writing(self.target.partial):
            self.target.prepare()
            levels = levels_of(self.spec, self.layout)[:1]
            group = zarr.create_group(LocalStore(self.target.partial), zarr_format=ZARR_FORMATS[self.spec.ngff],
                                      attributes=self._attributes(levels, {}))
            self._create_array(group, levels[0])
            sync_metadata(self.target.partial / LEVEL)
            sync_metadata(self.target.partial)

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

    def build(self, levels: Sequence[Level]) -> list[Any]:
        """The zarr arrays of all levels, each made from the one before; what an interrupted attempt left is replaced.

        Parameters
        ----------
        levels
            From level 0 on.
        """
        partial = self.target.partial
        group = zarr.open_group(LocalStore(partial), mode="r+")
        arrays: list[Any] = [group[levels[0].path]]
        for finer, level in pairwise(levels):
            remove(partial / level.path)
            arrays.append(self._create_array(group, level))
            steps = tuple(b // a for a, b in zip(finer.factors, level.factors, strict=True))
            known: set[Path] = set()
            for index in fill_level(arrays[-2], arrays[-1], steps, self.spec.kind):
                sync_chunks(partial / level.path, arrays[-1], index, known)
            sync_metadata(partial / level.path)
        return arrays

    def finish(self, attributes: Json) -> None:
        """Build the coarser levels, store the provenance in the group, then give it its final name.

        May be called again: what was not finished is made anew.
        """
        self._close()
        partial = self.target.partial
        with writing(self.target.path):
            if partial.exists():
                levels = levels_of(self.spec, self.layout)
                self.build(levels)
                group = zarr.open_group(LocalStore(partial), mode="r+")
                group.update_attributes(self._attributes(levels, attributes))
                sync_metadata(partial)
            self.target.promote()

    def _attributes(self, levels: Sequence[Level], attributes: Json) -> dict[str, Any]:
        name = self.target.path.name.removesuffix(self.target.path.suffix).removesuffix(".ome")
        made = provenance(self.spec.kind, self.spec.classes, attributes)
        return {**ome_attributes(name, self.spec, self.layout, levels, made["classes"]), "tiler": dict(made)}

    def _create_array(self, group: Any, level: Level) -> Any:
        """An empty array in the chunks of the output."""
        options: dict[str, Any] = {"dimension_names": self.layout.axes}
        if ZARR_FORMATS[self.spec.ngff] == 2:
            options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        return group.create_array(level.path, shape=level.shape, dtype=self.spec.dtype, fill_value=0,
                                  chunks=self._stored(self.spec.chunk, 1),
                                  shards=self._shard and self._stored(self._shard, self.spec.shape[0]), **options)

    @property
    def _shard(self) -> Shape | None:
        """zarr 2 has none."""
        return self.spec.shard if ZARR_FORMATS[self.spec.ngff] == 3 else None

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


def stored_attributes(path: Path) -> Json | None:
    """The provenance in a group; None where it has none."""
    try:
        found = zarr.open_group(LocalStore(path), mode="r").attrs.get("tiler")
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None
