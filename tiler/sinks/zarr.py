"""zarr as OME-NGFF: a group of the full array and coarser levels of it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import zarr

from tiler.errors import SinkError, TilerError
from tiler.geometry import Box, Shape
from tiler.ports import UNWATCHED, Array, Json, OutputSpec, Room, Watch
from tiler.sinks.inspection import level_faults
from tiler.sinks.keeping import keeping_of
from tiler.sinks.layout import Layout, check_array, check_block, check_box
from tiler.sinks.ngff import ZARR_FORMATS, check_version, ome_attributes
from tiler.sinks.pyramid import Level, bytes_of, count_cells, fill_level, levels_of, steps_between, voxels_of
from tiler.sinks.target import provenance, readable, writing
from tiler.stores.address import Place

LEVEL = "0"
# A block of zeros is stored like any other, so that it can be synced.
KEEP_EMPTY: Any = {"write_empty_chunks": True}


class ZarrSink:
    """A zarr group on a local disk or an object store.

    Parameters
    ----------
    path
        Final name of the output.
    spec
        Specification of the output.

    Raises
    ------
    SinkError
        For a spec that contradicts itself, an unknown version of OME-NGFF, or a parent that is a file.
    """

    def __init__(self, path: Place, spec: OutputSpec) -> None:
        check_version(str(path), spec.ngff)
        self.spec = spec
        self.layout = Layout.of(spec)
        self.fill_value = fill_value_of(spec)
        self._check_depth()
        self.keeping = keeping_of(path)
        self.keeping.check()
        self._lock = threading.Lock()
        self._array: Any = None
        self._writable = False
        self._place = path

    def __reduce__(self) -> tuple[type, tuple[Place, OutputSpec]]:
        return type(self), (self._place, self.spec)

    @property
    def name(self) -> str:
        return self.keeping.name

    @property
    def write_unit(self) -> Shape:
        """Voxels that are encoded together: the shard, or the chunk if there are no shards."""
        z, y, x = self._shard or self.spec.chunk
        return self._depth(z), y, x

    @property
    def chunk(self) -> Shape:
        """Chunk of the arrays, in their axes."""
        return self._stored(self.spec.chunk, 1)

    def create(self) -> None:
        """Make the group and its empty array, not whole yet."""
        self._close()
        with writing(self.keeping.draft_name):
            self.keeping.prepare()
            levels = self.levels()[:1]
            attributes = self.keeping.drafted(self._attributes(levels, {}))
            group = zarr.create_group(self.keeping.draft(), zarr_format=ZARR_FORMATS[self.spec.ngff],
                                      attributes=dict(attributes))
            self._create_array(group, levels[0])
            self.keeping.sync_metadata(LEVEL)
            self.keeping.sync_metadata()

    def write(self, box: Box, data: Array) -> None:
        """Store ``data`` ``(c, *box.shape)``; durable when it returns. Safe from several threads."""
        check_block(self.name, self.spec, box, data)
        with writing(self.keeping.draft_name):
            array = self._open()
            if not self._writable:
                raise SinkError(f"{self.name} is finished: nothing more can be written to it")
            self.layout.store(array, box, data)
            for index, _ in self.layout.pieces(box):
                self.keeping.sync_chunks(LEVEL, array, index)

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)`` as stored, from the unfinished or the finished output."""
        check_box(self.name, self.spec.shape, box)
        array = self._open()
        with readable(self.name):
            return self.layout.load(array, box)

    def levels(self) -> Sequence[Level]:
        """Levels of the output, from level 0 on."""
        return levels_of(self.spec, self.layout)

    @property
    def room(self) -> Room:
        return Room(bytes_of(self.levels(), self.spec))

    def pieces(self, levels: Sequence[Level]) -> int:
        """In how many pieces `build` makes them."""
        unit = self._stored(self._shard, self.spec.shape[0]) if self._shard else self.chunk
        return sum(count_cells(level.shape, unit) for level in levels[1:])

    def build(self, levels: Sequence[Level], watch: Watch) -> list[Any]:
        """The zarr arrays of all levels, each made from the one before; what an interrupted attempt left is replaced.

        Parameters
        ----------
        levels
            From level 0 on.
        watch
            Told of each of the `pieces`.
        """
        group = zarr.open_group(self.keeping.draft(), mode="r+")
        arrays: list[Any] = [group[levels[0].path]]
        for finer, level in pairwise(levels):
            self.keeping.discard(level.path)
            arrays.append(self._create_array(group, level).with_config(KEEP_EMPTY))
            for index in fill_level(arrays[-2], arrays[-1], steps_between(finer, level), self.spec.kind):
                self.keeping.sync_chunks(level.path, arrays[-1], index)
                watch.made(voxels_of(index))
            self.keeping.sync_metadata(level.path)
        return arrays

    def finish(self, attributes: Json, watch: Watch = UNWATCHED) -> None:
        """Build the coarser levels, store the provenance in the group, which is whole then.

        May be called again: unfinished parts are made again.
        """
        self._close()
        with writing(self.name):
            if self.keeping.unfinished:
                levels = self.levels()
                watch.begin(self.pieces(levels))
                self.build(levels, watch)
                group = zarr.open_group(self.keeping.draft(), mode="r+")
                group.update_attributes(self._attributes(levels, attributes))
                self.keeping.sync_metadata()
            self.keeping.promote()

    def _attributes(self, levels: Sequence[Level], attributes: Json) -> dict[str, Any]:
        name = self._place.name.removesuffix(self._place.suffix).removesuffix(".ome")
        made = provenance(self.spec.kind, self.spec.classes, attributes)
        return {**ome_attributes(name, self.spec, self.layout, levels, made["classes"]), "tiler": dict(made)}

    def _create_array(self, group: Any, level: Level) -> Any:
        """An empty array in the chunks of the output."""
        version = ZARR_FORMATS[self.spec.ngff]
        options: dict[str, Any] = {"dimension_names": self.layout.axes}
        if version == 2:
            options = {"chunk_key_encoding": {"name": "v2", "separator": "/"},
                       "attributes": {"_ARRAY_DIMENSIONS": list(self.layout.axes)}}  # as xarray names them in zarr 2
        if "compression" in self.spec.storage:
            name, strength = self.spec.storage["compression"]
            options["compressors"] = compressor(name, strength, version)
        return group.create_array(level.path, shape=level.shape, dtype=self.spec.dtype, fill_value=self.fill_value,
                                  chunks=self.chunk,
                                  shards=self._shard and self._stored(self._shard, self.spec.shape[0]), **options)

    @property
    def _shard(self) -> Shape | None:
        """zarr 2 has none."""
        return self.spec.shard if ZARR_FORMATS[self.spec.ngff] == 3 else None

    def _depth(self, z: int) -> int:
        """Length of chunks along z: where z is time and depth, chunks may not straddle two time points."""
        return math.gcd(z, self.layout.sizes[-1]) if len(self.layout.sizes) > 1 else z

    def _check_depth(self) -> None:
        """Refuse chosen chunks or shards that would straddle two time points."""
        for name in ("shard", "chunk"):
            size = getattr(self.spec, name)
            if name in self.spec.storage and size is not None and size[0] != self._depth(size[0]):
                raise SinkError(f"{size[0]} sections do not divide the {self.layout.sizes[-1]} of a time point: choose "
                                f"{self._depth(size[0])} along z, or a divisor", option=name)

    def _stored(self, chunk: Shape, channels: int) -> tuple[int, ...]:
        """A chunk in the array's axes."""
        z, y, x = chunk
        lead = (1,) * (len(self.layout.sizes) - 1) + (self._depth(z),) if self.layout.sizes else ()
        return self.layout.with_channels((*lead, y, x), channels)

    def _open(self) -> Any:
        with self._lock:
            if self._array is None or self.keeping.stale:
                store, self._writable = self.keeping.open()
                try:
                    found: Any = zarr.open_group(store, mode="r+" if self._writable else "r")[LEVEL]
                except TilerError:
                    raise
                except (LookupError, TypeError, OSError, ValueError) as error:
                    raise SinkError(f"{self.name} is not an output of tiler, or its metadata are damaged "
                                    f"({' '.join(str(error).split())}): start anew with `overwrite=True`") from error
                check_array(self.name, self.spec, self.layout, found)
                self._array = found.with_config(KEEP_EMPTY)
            return self._array

    def stamp(self, box: Box) -> str:
        """Stamp of the chunks that hold a block."""
        array = self._open()
        stamps = [self.keeping.stamp(LEVEL, array, index) for index, _ in self.layout.pieces(box)]
        return " ".join(filter(None, stamps))

    def marks(self) -> Mapping[str, str]:
        """Hashes of the metadata, and of the names and sizes of all chunks."""
        return self.keeping.marks([level.path for level in self.levels()])

    def level_faults(self) -> Iterator[str]:
        """Places at which coarser levels differ from what level 0 gives."""
        levels = self.levels()
        with readable(self.name):
            group: Any = zarr.open_group(self.keeping.stored(), mode="r")
            missing = [level.path for level in levels if level.path not in group]
            arrays = [] if missing else [group[level.path] for level in levels]
        yield from (f"level {path} is missing" for path in missing)
        if not missing:
            yield from level_faults(levels, arrays, self.spec.kind)

    def _close(self) -> None:
        with self._lock:
            self._array = None
            self.keeping.close()


def fill_value_of(spec: OutputSpec) -> Any:
    """The value that stands for chunks that are not stored, in the dtype of the output.

    Raises
    ------
    SinkError
        If the dtype does not hold it.
    """
    chosen, dtype = spec.storage.get("fill_value", 0), np.dtype(spec.dtype)
    value = float("nan") if chosen == "nan" else chosen
    if dtype.kind == "f" or (dtype.kind in "iu" and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
                             and value == int(value)):
        return dtype.type(value)
    if chosen:
        raise SinkError(f"voxels of {dtype.name} cannot be {chosen}", option="fill_value")
    return dtype.type()


def compressor(name: str, level: int | None, version: int) -> dict[str, Any] | None:
    """A compression as the metadata of zarr spell it; None for "none". Where ``level`` is None its library chooses."""
    if name == "none":
        return None
    setting = {} if level is None else {"clevel" if name == "blosc" else "level": level}
    return {"id": name, **setting} if version == 2 else {"name": name, "configuration": setting}


def stored_attributes(place: Place) -> Json | None:
    """The provenance in a group; None where it has none."""
    try:
        found = zarr.open_group(keeping_of(place).stored(), mode="r").attrs.get("tiler")
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None
