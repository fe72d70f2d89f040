"""Where the result goes: zarr, TIFF, OME-TIFF, HDF5, npy, or an array in memory.

A format is one line in `FORMATS`; its module is imported when the first output of that format is opened.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tiler.errors import SinkError
from tiler.ports import Json, OutputSpec, Sink
from tiler.sinks.target import Target

__all__ = ["FORMATS", "Format", "open_finished", "open_sink", "partial_path"]


@dataclass(frozen=True, slots=True)
class Format:
    """An output format: ``"module:class"`` that is called with path and spec, its suffixes, and how to install it."""

    sink: str
    suffixes: tuple[str, ...]
    install: str = ""

    def open(self, path: Path, spec: OutputSpec) -> Sink:
        module, _, name = self.sink.partition(":")
        try:
            sink: Sink = getattr(import_module(module), name)(path, spec)
        except ModuleNotFoundError as error:
            raise SinkError(f"writing {path} needs the package {error.name}: {self.install}") from error
        return sink


FORMATS = (
    Format("tiler.sinks.zarr:ZarrSink", (".zarr",)),
    Format("tiler.sinks.ome_tiff:OmeTiffSink", (".ome.tif", ".ome.tiff")),
    Format("tiler.sinks.tiff:TiffSink", (".tif", ".tiff")),
    Format("tiler.sinks.hdf5:Hdf5Sink", (".h5", ".hdf5", ".hdf"), "pip install em-tiler[hdf5]"),
    Format("tiler.sinks.npy:NpySink", (".npy",)),
)


def open_sink(output: str | os.PathLike[str] | None, spec: OutputSpec) -> Sink:
    """The sink for an output, by its suffix; nothing is made on the disk before `create`.

    Parameters
    ----------
    output
        A path that ends in a suffix of `FORMATS`; None for an array in memory, which is then the sink's attribute
        ``array``.
    spec
        What is written.

    Raises
    ------
    SinkError
        For an unknown suffix, a missing package, a parent that is a file, or a spec that contradicts itself.
    """
    if output is None:
        from tiler.sinks.array import ArraySink

        return ArraySink(spec)
    path = Path(output).absolute()
    return _format_of(path).open(path, spec)


def partial_path(output: str | os.PathLike[str]) -> Path:
    """The name of an output until it is whole: ``out.tif.partial``, ``out.zarr.partial``."""
    return Target(Path(output).absolute()).partial


def open_finished(output: str | os.PathLike[str]) -> Json | None:
    """The provenance of a finished output; None if it does not exist or carries none.

    Raises
    ------
    SinkError
        For an unknown suffix, or a provenance file that is damaged.
    """
    target = Target(Path(output).absolute())
    known = _format_of(target.path)
    if not target.path.exists():
        return None
    if known is FORMATS[0]:
        from tiler.sinks.zarr import stored_attributes

        return stored_attributes(target.path)
    if not target.sidecar.exists():
        return None
    try:
        found: Json = json.loads(target.sidecar.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SinkError(f"{target.sidecar} is damaged: {error}") from error
    return found


def _format_of(path: Path) -> Format:
    for known in FORMATS:
        if path.name.lower().endswith(known.suffixes):
            return known
    supported = " ".join(suffix for known in FORMATS for suffix in known.suffixes)
    raise SinkError(f"{path}: outputs end in {supported}; got {path.suffix or 'no suffix'} (-o)")
