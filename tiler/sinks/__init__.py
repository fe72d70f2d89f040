"""Sinks: one module for each output format, and an array in memory.

A format is one line in `FORMATS`; its module is imported when the first output of that format is opened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from tiler.errors import SinkError
from tiler.ports import Json, OutputSpec, Sink, offered
from tiler.sinks.target import PARTIAL, REPLACED, Target
from tiler.stores.address import Address, Place, is_address, place_of
from tiler.stores.label_places import is_label

if TYPE_CHECKING:
    from tiler.sinks.keeping import Keeping

__all__ = ["FORMATS", "Format", "check_output", "check_shared",
           "discard_unfinished", "is_own", "is_unfinished", "is_whole", "open_finished",
           "open_sink", "partial_path"]


@dataclass(frozen=True, slots=True)
class Format:
    """An output format.

    Parameters
    ----------
    sink
        ``"module:class"`` that is called with path and spec.
    suffixes
        Suffixes of its names.
    install
        How to install what it needs.
    storage
        Options of storage that it has, by keyword.
    shared
        Whether processes on several machines may write one output at once.
    """

    sink: str
    suffixes: tuple[str, ...]
    install: str = ""
    storage: frozenset[str] = frozenset()
    shared: bool = False

    def open(self, path: Place, spec: OutputSpec) -> Sink:
        try:
            sink: Sink = resolve_name(self.sink)(path, spec)
        except ModuleNotFoundError as error:
            raise SinkError(f"writing {path} needs the package {error.name}: {self.install}") from error
        return sink


TENSORSTORE = "pip install 'em-tiler[tensorstore]'"
LABEL_STORAGE = frozenset({"ngff", "compression", "chunk", "shard", "fill_value"})
PYRAMID = frozenset({"levels", "downsample"})
FORMATS = (
    Format("tiler.sinks.zarr:ZarrSink", (".zarr",), storage=LABEL_STORAGE | PYRAMID, shared=True),
    Format("tiler.sinks.ome_tiff:OmeTiffSink", (".ome.tif", ".ome.tiff"), storage=frozenset({"levels"})),
    Format("tiler.sinks.tiff:TiffSink", (".tif", ".tiff")),
    Format("tiler.sinks.hdf5:Hdf5Sink", (".h5", ".hdf5", ".hdf"), "pip install em-tiler[hdf5]", frozenset({"chunk"})),
    Format("tiler.sinks.npy:NpySink", (".npy",)),
    Format("tiler.sinks.tensorstores:N5Sink", (".n5",), TENSORSTORE, PYRAMID | {"compression", "chunk"},
           shared=True),
    Format("tiler.sinks.precomputed:PrecomputedSink", (".precomputed",), TENSORSTORE, PYRAMID | {"chunk", "shard"},
           shared=True),
    Format("tiler.sinks.mrc:MrcSink", (".mrc",)),
)


LABELS = Format("tiler.sinks.labels:LabelSink", (), storage=LABEL_STORAGE, shared=True)
"""A label image inside an OME-Zarr image, whose levels it has."""

RESERVED = (".", "__", "zarr.json")
"""Beginnings of names that are zarr's own inside a group."""


def open_sink(output: str | os.PathLike[str] | Address | None, spec: OutputSpec) -> Sink:
    """The sink for an output, by its suffix; nothing is made on the disk before `create`.

    Parameters
    ----------
    output
        A path that ends in a suffix of `FORMATS`, the address of a zarr, or ``IMAGE.zarr/labels/NAME`` for a label
        image of an OME-Zarr image; None for an array in memory, which is then the sink's attribute ``array``.
    spec
        Specification of the output.

    Raises
    ------
    SinkError
        For an unknown suffix, a missing package, a parent that is a file, or a spec that contradicts itself.
    StoreError
        For an address that holds credentials, or a missing package.
    """
    if output is None:
        from tiler.sinks.array import ArraySink

        return ArraySink(spec)
    place = place_of(output).absolute()
    return _format_of(place).open(place, spec)


def check_output(output: Place, storage: Collection[str]) -> None:
    """Refuse a name that no format has, and options of storage that its format lacks, before anything is opened.

    Parameters
    ----------
    output
        Where the result goes.
    storage
        Names of the options that were given and say how voxels are stored.

    Raises
    ------
    SinkError
        In one line.
    """
    known = _format_of(output)
    for name in storage:
        if name not in known.storage:
            others = " ".join(each.suffixes[0] for each in FORMATS if name in each.storage)
            here = "the levels of a label image are those of its image" if known is LABELS else \
                f"{known.suffixes[0]} outputs have no such choice"
            raise SinkError(f"{output}: {here}: leave out `{name}`, which is for {others}, or choose one of these",
                            option="output")


def check_shared(output: Place) -> None:
    """Refuse an output that several processes cannot write at once.

    Raises
    ------
    SinkError
        If its format is one file, or made of one when it is finished.
    """
    found = _format_of(output)
    if not found.shared:
        able = ", ".join(suffix for known in FORMATS if known.shared for suffix in known.suffixes)
        raise SinkError(f"{output}: several processes cannot write {found.suffixes[0]}: choose {able}", option="output")


def ngff_of(output: Place, wanted: str | None, kind: str) -> str | None:
    """The version of OME-NGFF that an output will have: for a label image that of its image.

    Raises
    ------
    SinkError
        If that is not the wanted one, there is no such image, or ``kind`` is not a kind of labels.
    """
    if _format_of(output) is not LABELS:
        return wanted
    from tiler.sinks.labels import image_over

    return image_over(output, wanted, kind).version


def partial_path(output: str | os.PathLike[str]) -> Path:
    """The name of an output until it is whole: ``out.tif.partial``, ``out.zarr.partial``."""
    return Target(Path(output).absolute()).partial


def kept(output: Place) -> Keeping:
    """The keeping of an output, which knows whether it is whole; zarr is imported only here."""
    from tiler.sinks.keeping import keeping_of

    return keeping_of(output.absolute())


def is_whole(output: Place) -> bool:
    """Whether there is anything under the final name of an output."""
    return kept(output).whole


def is_unfinished(output: Place) -> bool:
    """Whether there is an output that is not whole."""
    return kept(output).unfinished


def discard_unfinished(output: Place) -> None:
    """Remove an output that is not whole; one that is whole stays."""
    kept(output).discard()


def is_own(output: Place, folder: Place) -> bool:
    """Whether a folder that an output would replace, or an older one left, holds an output of tiler.

    Parameters
    ----------
    output
        Final name of the output.
    folder
        The output itself, or what bears its name with another ending.
    """
    from tiler.sinks.zarr import stored_attributes

    if stored_attributes(folder) is not None:
        return True
    if not isinstance(folder, Path):
        return False
    stages = folder.glob("stage.zarr*")
    return Target(Path(str(output))).sidecar.exists() or any(stored_attributes(each) is not None for each in stages)


def open_finished(output: str | os.PathLike[str] | Address) -> Json | None:
    """The provenance of a finished output; None if it does not exist or carries none.

    Raises
    ------
    SinkError
        For an unknown suffix, or a provenance file that is damaged.
    """
    place = place_of(output).absolute()
    known = _format_of(place)
    if not is_whole(place):
        return None
    if known in (FORMATS[0], LABELS):
        from tiler.sinks.zarr import stored_attributes

        return stored_attributes(place)
    target = Target(Path(str(place)))
    if not target.sidecar.exists():
        return None
    try:
        found: Json = json.loads(target.sidecar.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SinkError(f"{target.sidecar} is damaged: {error}") from error
    return found


def _format_of(path: Place) -> Format:
    if is_label(path):
        _check_label_name(path)
        return LABELS
    if is_address(path) and not path.name.lower().endswith(FORMATS[0].suffixes):
        raise SinkError(f"{path}: outputs on object stores are .zarr; got {path.suffix or 'no suffix'}",
                        option="output")
    for known in FORMATS:
        if path.name.lower().endswith(known.suffixes):
            return known
    if path.suffix.lower().removeprefix(".") in (found := offered("sinks")):
        return Format(found[path.suffix.lower().removeprefix(".")], (path.suffix.lower(),))
    supported = " ".join(suffix for known in FORMATS for suffix in known.suffixes)
    raise SinkError(f"{path}: outputs end in {supported}; got {path.suffix or 'no suffix'}", option="output")


def _check_label_name(path: Place) -> None:
    """Refuse an output inside a zarr if it is not a zarr or its name is reserved."""
    name = path.name.lower()
    others = tuple(suffix for known in FORMATS[1:] for suffix in known.suffixes)
    if name.endswith(others):
        raise SinkError(f"{path} is the place of a label image inside a zarr, which is zarr itself: leave out "
                        f"{path.suffix}, or choose another folder", option="output")
    if name.endswith((PARTIAL, REPLACED)) or name.startswith(RESERVED):
        raise SinkError(f"{path}: a label image cannot be called {path.name}, since names that end in {PARTIAL} or "
                        f"{REPLACED} are those of what is not whole, and names that begin with . or __ or are "
                        "zarr.json belong to zarr: choose another name", option="output")
