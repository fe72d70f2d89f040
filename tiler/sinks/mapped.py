"""Outputs that are one file, preallocated and written by region through a memory map."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import SinkError
from tiler.geometry import Box, Shape
from tiler.ports import UNWATCHED, Array, Json, OutputSpec, Room, Watch
from tiler.sinks.inspection import mark_of, marks_of_files, pieces, stamp_of
from tiler.sinks.layout import Layout, check_block, check_box
from tiler.sinks.target import Target, provenance, readable, write_json, writing
from tiler.stores.durable import sync


@dataclass(frozen=True, slots=True)
class _Handle:
    path: Path
    mapped: Any
    array: Array


class MappedSink:
    """Base of the sinks that map their file; a format says how the file is made and where its array lies.

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
        self._lock = threading.Lock()
        self._handle: _Handle | None = None

    def allocate(self, path: Path) -> None:
        """Write the header, and as many bytes as the voxels need."""
        raise NotImplementedError

    def map(self, path: Path, mode: str) -> tuple[Any, Array]:
        """The memory map of an existing file, and a view of it in the layout's order of axes."""
        raise NotImplementedError

    def description(self) -> Json:
        """Entries of the provenance for which the file format has no place."""
        return {}

    def __reduce__(self) -> tuple[type, tuple[Path, OutputSpec]]:
        return type(self), (self.target.path, self.spec)

    @property
    def name(self) -> str:
        return str(self.target.path)

    @property
    def write_unit(self) -> Shape:
        """Single voxels: nothing is encoded together."""
        return (1, 1, 1)

    @property
    def room(self) -> Room:
        return Room(math.prod(self.spec.shape) * np.dtype(self.spec.dtype).itemsize, reserved=True)

    def create(self) -> None:
        """Make the file under its partial name, all its space reserved, zeros in it."""
        self._close()
        with writing(self.target.partial):
            self.target.prepare()
            self.allocate(self.target.partial)
            reserve(self.target.partial)
            sync(self.target.partial)
            sync(self.target.path.parent)

    def write(self, box: Box, data: Array) -> None:
        """Store ``data`` ``(c, *box.shape)``; durable when it returns. Safe from several threads."""
        check_block(self.name, self.spec, box, data)
        with writing(self.target.partial):
            handle = self._open()
            if not handle.array.flags.writeable:
                raise SinkError(f"{self.name} is finished: nothing more can be written to it")
            self.layout.store(handle.array, box, data)
            handle.mapped.flush()
            sync(handle.path)

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)`` as stored, from the partial or the finished output."""
        check_box(self.name, self.spec.shape, box)
        return self.layout.load(self._open().array, box)

    def finish(self, attributes: Json, watch: Watch = UNWATCHED) -> None:
        """Store the provenance beside the output, then give it its final name; may be called again."""
        self._close()
        with writing(self.target.path):
            if self.target.partial.exists():
                content = provenance(self.spec.kind, self.spec.classes, attributes)
                write_json(self.target.sidecar, {**content, **self.description()})
            self.target.promote()

    def stamp(self, box: Box) -> str:
        """Stamp of the file: it holds all blocks, so a resumed run reads again every block but the last."""
        return stamp_of([self.target.partial])

    def marks(self) -> Mapping[str, str]:
        """Hashes of the file without its voxels, and of the provenance beside it."""
        handle = self._open()
        mapped: np.memmap[Any, Any] = handle.mapped
        end = mapped.offset + mapped.nbytes
        around = chain(pieces(handle.path, 0, mapped.offset), pieces(handle.path, end))
        return {handle.path.name: mark_of(around), **marks_of_files([self.target.sidecar])}

    def level_faults(self) -> Iterator[str]:
        """There is one level alone."""
        return iter(())

    def _open(self) -> _Handle:
        with self._lock:
            if self._handle is None or not self._handle.path.exists():  # finished by another sink meanwhile
                path = self.target.current
                mode = "r+" if path == self.target.partial else "r"
                with readable(path):
                    self.map(path, "r")  # opened for writing, a truncated file would silently grow, filled with zeros
                    mapped, array = self.map(path, mode)
                    if array.shape != self.layout.shape:
                        raise ValueError(f"shape {array.shape} instead of {self.layout.shape}")
                self._handle = _Handle(path, mapped, array)
            return self._handle

    def _close(self) -> None:
        with self._lock:
            self._handle = None


def reserve(path: Path) -> None:
    """Take the file's space on the disk now.

    A full disk is then an error here; a memory map that meets it later kills the process (SIGBUS).
    """
    size = path.stat().st_size
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def moved(array: Array, stored: tuple[str, ...], wanted: tuple[str, ...]) -> Array:
    """A view with the axes in another order."""
    return np.transpose(array, [stored.index(axis) for axis in wanted])
