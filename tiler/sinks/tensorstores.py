"""Formats on a local disk that tensorstore writes block by block: their common base, and N5.

N5 and precomputed volumes are folders of one file a chunk, whose axes are named from the fastest on: x, y, z, then
channels. A chunk of zeros is not stored: both formats take a chunk that is not there for zeros.

References
----------
https://github.com/saalfeldlab/n5#file-system-specification
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore

from tiler.errors import SinkError
from tiler.geometry import Box, Shape
from tiler.ports import UNWATCHED, Array, Json, OutputSpec, Room, Watch
from tiler.ports.units import SYMBOLS, steps
from tiler.sinks.chunked import Chunked, cells_of
from tiler.sinks.inspection import level_faults, mark_of, mark_of_folder, marks_of_files, pieces, stamp_of
from tiler.sinks.layout import Layout, check_block, check_box
from tiler.sinks.pyramid import Level, bytes_of, count_cells, fill_level, levels_of, steps_between, voxels_of
from tiler.sinks.target import Target, provenance, readable, remove, write_json, writing
from tiler.stores.durable import sync, sync_names

DESCRIPTIONS = ("info", "attributes.json")
"""Files in which precomputed and N5 volumes describe themselves."""

LOCKS = "*.__lock"
"""Files that tensorstore leaves behind if it is killed while it writes a chunk."""


class TensorSink:
    """Base of the sinks that tensorstore writes; a format says how a level is described.

    Parameters
    ----------
    path
        Final name of the output, a folder.
    spec
        Specification of the output.
    """

    dtypes: tuple[str, ...]
    """Types that the format holds."""

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        self.spec = spec
        self.layout = Layout.of(spec)
        self.target = Target(path)
        self.target.check_parent()
        if np.dtype(spec.dtype).name not in self.dtypes:
            raise SinkError(f"{path}: this format holds {', '.join(self.dtypes)}, the result is "
                            f"{np.dtype(spec.dtype).name} (`dtype`): choose another format", option="output")
        self._lock = threading.Lock()
        self._opened: tuple[Path, Chunked] | None = None
        self._known: set[Path] = set()  # folders whose own names are durable

    def described(self, folder: Path, levels: Sequence[Level], number: int) -> Json:
        """The specification by which tensorstore makes or opens one of the levels."""
        raise NotImplementedError

    def view(self, store: Any) -> Any:
        """An opened level in the order of the layout's axes."""
        raise NotImplementedError

    def completed(self, folder: Path, levels: Sequence[Level]) -> None:
        """Write the metadata of the whole volume."""

    def __reduce__(self) -> tuple[type, tuple[Path, OutputSpec]]:
        return type(self), (self.target.path, self.spec)

    @property
    def name(self) -> str:
        return str(self.target.path)

    @property
    def write_unit(self) -> Shape:
        """The chunk; where z is time and depth its length divides the depth, so that none straddles two times."""
        z, y, x = self.spec.chunk
        depth = self.layout.sizes[-1] if len(self.layout.sizes) > 1 else 0
        return int(np.gcd(z, depth)), y, x

    @property
    def chunks(self) -> Shape:
        """A chunk on the layout's axes."""
        z, y, x = self.write_unit
        lead = (1,) * (len(self.layout.sizes) - 1) + ((z,) if self.layout.sizes else ())
        return self.layout.with_channels((*lead, y, x), 1)

    def levels(self) -> Sequence[Level]:
        """All levels of the output, from level 0 on."""
        return levels_of(self.spec, self.layout)

    @property
    def room(self) -> Room:
        return Room(bytes_of(self.levels(), self.spec))

    def create(self) -> None:
        """Make the folder with an empty level 0 under the partial name."""
        self._close()
        with writing(self.target.partial):
            self.target.prepare()
            self.target.partial.mkdir()
            self._level(self.target.partial, self.levels()[:1], 0, create=True)
            sync(self.target.partial)
            sync(self.target.path.parent)

    def write(self, box: Box, data: Array) -> None:
        """Store ``data`` ``(c, *box.shape)``; durable when it returns. Safe from several threads."""
        check_block(self.name, self.spec, box, data)
        if self.target.current != self.target.partial:
            raise SinkError(f"{self.name} is finished: nothing more can be written to it")
        with writing(self.target.partial):
            try:
                self.layout.store(self._array(), box, data)
            except ValueError:  # tensorstore reads some chunks before it replaces them: these are damaged
                for file in self._files(box):
                    file.unlink(missing_ok=True)
                self.layout.store(self._array(), box, data)
            for folder in {file.parent for file in self._files(box) if file.exists()}:
                sync_names(folder, self.target.partial, self._known)

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)`` as stored, from the partial or the finished output."""
        check_box(self.name, self.spec.shape, box)
        with readable(self.target.current):
            return self.layout.load(self._array(), box)

    def finish(self, attributes: Json, watch: Watch = UNWATCHED) -> None:
        """Make the coarser levels, store the provenance beside the output, then give it its final name.

        May be called again: what was not finished is made anew.
        """
        self._close()
        with writing(self.target.path):
            if self.target.partial.exists():
                self._complete(watch)
                write_json(self.target.sidecar, provenance(self.spec.kind, self.spec.classes, attributes))
            self.target.promote()

    def stamp(self, box: Box) -> str:
        """Stamp of the chunks, or shards, that hold a block."""
        return stamp_of(self._files(box))

    def marks(self) -> Mapping[str, str]:
        """Of the metadata, of the names and sizes of all chunks, and of the provenance beside the folder."""
        folder = self.target.path
        files = [file for name in DESCRIPTIONS for file in sorted(folder.rglob(name))]
        found = {file.relative_to(folder).as_posix(): mark_of(pieces(file)) for file in files}
        return {**found, "list of chunks": mark_of_folder(folder), **marks_of_files([self.target.sidecar])}

    def level_faults(self) -> Iterator[str]:
        """Places where coarser levels do not match level 0."""
        levels = self.levels()
        with readable(self.name):
            arrays = [self._level(self.target.path, levels, number) for number in range(len(levels))]
        yield from level_faults(levels, arrays, self.spec.kind)

    def _complete(self, watch: Watch) -> None:
        levels, folder = self.levels(), self.target.partial
        watch.begin(sum(count_cells(level.shape, self.chunks) for level in levels[1:]))
        arrays = [self._level(folder, levels, 0)]
        for number, (finer, level) in enumerate(pairwise(levels), start=1):
            remove(folder / self.folder_of(levels, number))
            arrays.append(self._level(folder, levels, number, create=True))
            for index in fill_level(arrays[-2], arrays[-1], steps_between(finer, level), self.spec.kind):
                watch.made(voxels_of(index))
        self.completed(folder, levels)
        for left in folder.rglob(LOCKS):
            left.unlink()
        for place, *_ in os.walk(folder):  # tensorstore does not sync the names of new folders
            sync(Path(place))

    def folder_of(self, levels: Sequence[Level], number: int) -> str:
        """The folder of a level inside the output."""
        raise NotImplementedError

    def chunk_name(self, cell: tuple[int, ...]) -> str:
        """The file of a chunk, or shard, of level 0 inside the folder of its level."""
        raise NotImplementedError

    def _files(self, box: Box) -> list[Path]:
        """The chunks, or shards, that hold a block, as far as they are stored."""
        folder, array = self.target.current / self.folder_of(self.levels(), 0), self._array()
        return [folder / self.chunk_name(cell) for index, _ in self.layout.pieces(box)
                for cell in cells_of(index, array.shards or array.chunks)]

    def _level(self, folder: Path, levels: Sequence[Level], number: int, *, create: bool = False) -> Chunked:
        described = dict(self.described(folder, levels, number))
        try:
            store = tensorstore.open(described, open=True, create=create, read=True, write=True).result()
        except ValueError as error:
            raise SinkError(f"cannot write {self.name}: {str(error).split(' [')[0]}") from error
        store = self.view(store[tensorstore.d[:].translate_to[0]])
        return Chunked(store, self.chunks, self.shards_of(store))

    def shards_of(self, store: Any) -> Shape | None:
        """Shards of a level in the order of the layout's axes; None if its chunks are files."""
        return None

    def _array(self) -> Chunked:
        with self._lock:
            current = self.target.current
            if self._opened is None or self._opened[0] != current:  # another sink may have finished it
                self._opened = current, self._level(current, self.levels()[:1], 0)
            return self._opened[1]

    def _close(self) -> None:
        with self._lock:
            self._opened, self._known = None, set()


class N5Sink(TensorSink):
    """An N5 group of the full array ``s0`` and its coarser levels, gzip-compressed."""

    dtypes = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")

    def described(self, folder: Path, levels: Sequence[Level], number: int) -> Json:
        level, axes = levels[number], self.layout.axes[::-1]
        known = steps(self.spec.calibration)
        factors = [int(factor) for factor in level.factors[::-1]]
        metadata: dict[str, Any] = {
            "dimensions": level.shape[::-1], "blockSize": self.chunks[::-1],
            "dataType": np.dtype(self.spec.dtype).name, "axes": axes,
            "compression": compression_of(*self.spec.storage.get("compression", ("gzip", 1))),
            "resolution": [known.get(axis, (1.0, ""))[0] * factor for axis, factor in zip(axes, factors, strict=True)],
            "units": [SYMBOLS.get(known[axis][1], known[axis][1]) if axis in known else "" for axis in axes]}
        if number:
            metadata["downsamplingFactors"] = factors
        path = f"{folder / self.folder_of(levels, number)}/"
        return {"driver": "n5", "kvstore": {"driver": "file", "path": path}, "metadata": metadata}

    def folder_of(self, levels: Sequence[Level], number: int) -> str:
        return f"s{number}"

    def chunk_name(self, cell: tuple[int, ...]) -> str:
        return "/".join(map(str, cell[::-1]))

    def view(self, store: Any) -> Any:
        return store.T

    def completed(self, folder: Path, levels: Sequence[Level]) -> None:
        write_json(folder / "attributes.json", {"n5": "2.5.1", "scales": [
            [int(factor) for factor in level.factors[::-1]] for level in levels]})


def compression_of(name: str, level: int | None) -> Json:
    """A compression as the metadata of N5 spell it."""
    if name == "none":
        return {"type": "raw"}
    if name == "blosc":
        return {"type": "blosc", "cname": "lz4", "clevel": 5 if level is None else level, "shuffle": 1}
    return {"type": name, **({} if level is None else {"level": level})}
