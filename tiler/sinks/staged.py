"""Outputs that cannot be written by region as they are: their blocks wait in a zarr until all are there.

::

    out.h5.partial/stage.zarr.partial    the blocks, as they come
    out.h5.partial/out.h5                made of them by `finish`, then renamed
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tiler.errors import SinkError
from tiler.geometry import Box, Shape
from tiler.ports import UNWATCHED, Array, Json, OutputSpec, Room, Watch
from tiler.sinks.inspection import level_faults, marks_of_files
from tiler.sinks.layout import Layout, check_block, check_box
from tiler.sinks.pyramid import Level, bytes_of
from tiler.sinks.target import Target, provenance, readable, write_json, writing
from tiler.sinks.zarr import ZarrSink
from tiler.stores.durable import sync


class StagedSink:
    """Base of the sinks that convert a staged zarr; a format says how its file is made and read.

    Parameters
    ----------
    path
        Final name of the output.
    spec
        Specification of the output.
    """

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        self.spec = spec
        self.layout = Layout.of(spec)
        self.target = Target(path)
        self.target.check_parent()
        self.stage = ZarrSink(self.target.partial / "stage.zarr", self.staged(spec))

    def staged(self, spec: OutputSpec) -> OutputSpec:
        """Specification of the staged zarr."""
        raise NotImplementedError

    def levels(self) -> Sequence[Level]:
        """Levels of the output, from level 0 on."""
        raise NotImplementedError

    def pieces(self, levels: Sequence[Level]) -> int:
        """In how many pieces `convert` makes the file."""
        raise NotImplementedError

    def convert(self, levels: Sequence[Any], path: Path, watch: Watch) -> None:
        """Make the file from the zarr arrays of all levels, in memory that does not grow with them."""
        raise NotImplementedError

    def load(self, path: Path, box: Box) -> Array:
        """``(c, *box.shape)`` out of a file that `convert` made."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[type, tuple[Path, OutputSpec]]:
        return type(self), (self.target.path, self.spec)

    @property
    def name(self) -> str:
        return str(self.target.path)

    @property
    def write_unit(self) -> Shape:
        """That of the staged zarr."""
        return self.stage.write_unit

    @property
    def room(self) -> Room:
        """The stage has the same levels."""
        whole = bytes_of(self.levels(), self.spec)
        return Room(whole, whole)

    def create(self) -> None:
        """Make the empty stage under the partial name."""
        with writing(self.target.partial):
            self.target.prepare()
        self.stage.create()
        with writing(self.target.partial):
            sync(self.target.path.parent)

    def write(self, box: Box, data: Array) -> None:
        """Store ``data`` ``(c, *box.shape)``; durable when it returns. Safe from several threads."""
        check_block(self.name, self.spec, box, data)
        if self.target.current != self.target.partial:
            raise SinkError(f"{self.name} is finished: nothing more can be written to it")
        self.stage.write(box, data)

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)`` as stored, from the stage or the finished output."""
        check_box(self.name, self.spec.shape, box)
        current = self.target.current
        if current == self.target.partial:
            return self.stage.read(box)
        with readable(current):
            return self.load(current, box)

    def stamp(self, box: Box) -> str:
        """Stamp of the chunks of the stage that hold a block."""
        return self.stage.stamp(box) if self.target.current == self.target.partial else ""

    def marks(self) -> Mapping[str, str]:
        """Hashes of the whole file, and of the provenance beside it."""
        return marks_of_files([self.target.path, self.target.sidecar])

    def level_faults(self) -> Iterator[str]:
        """Places at which coarser levels differ from what level 0 gives."""
        with readable(self.target.path), self.opened_levels(self.target.path) as arrays:
            yield from level_faults(self.levels(), arrays, self.spec.kind)

    def opened_levels(self, path: Path) -> AbstractContextManager[Sequence[Any]]:
        """The levels of a file that `convert` made, as arrays with shape, dtype, ``chunks`` and ``shards``."""
        raise NotImplementedError

    def finish(self, attributes: Json, watch: Watch = UNWATCHED) -> None:
        """Convert the stage, store the provenance beside the output, then give it its final name.

        May be called again: unfinished parts are made again.
        """
        draft = self.target.partial / self.target.path.name
        with writing(self.target.path):
            if self.target.partial.exists():
                levels = self.levels()
                watch.begin(self.stage.pieces(levels) + self.pieces(levels))
                self.convert(self.stage.build(levels, watch), draft, watch)
                sync(draft)
                write_json(self.target.sidecar, provenance(self.spec.kind, self.spec.classes, attributes))
            self.target.promote(draft)
