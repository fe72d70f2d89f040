"""Imaris files (``.ims``): HDF5 with one dataset for each time point and channel; the finest level is read.

Datasets are padded to whole chunks; the true sizes stand in the attributes of each channel, as text.

References
----------
https://imaris.oxinst.com/assets/uploads/docs/Imaris5FileFormat.pdf
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.ports.units import unit_of
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.files import existing, file_identity
from tiler.sources.hdf5 import opened_file
from tiler.sources.hdf5_bounded import check_chunks
from tiler.sources.raw import Header, Index, Lazy

LEVEL = "DataSet/ResolutionLevel 0"


@dataclass(frozen=True, slots=True)
class ImarisImage:
    """The finest level of all time points and channels, ``tczyx``."""

    header: Header
    path: Path
    handle: Lazy[Any] = field(repr=False)
    missing: str = ""

    def fetch(self, index: Index) -> Array:
        times, channels, *space = index
        out = np.zeros([part.stop - part.start for part in index], self.header.dtype)
        for row, time in enumerate(range(times.start, times.stop)):
            for column, channel in enumerate(range(channels.start, channels.stop)):
                name = _name(time, channel)
                if not self.missing or name in self.handle():
                    check_chunks(f"{self.path}:{name}", self.handle()[name], tuple(space))
                    out[row, column] = self.handle()[name][tuple(space)]
        return out

    def identity(self) -> Json:
        told = {**file_identity(self.path), "kind": "imaris"}
        return {**told, "missing": self.missing} if self.missing else told


def open_imaris(path: Path, consent: Consent = REFUSED) -> ImarisImage:
    """Open an Imaris file; only metadata is read.

    Raises
    ------
    SourceError
        If it is missing or damaged, or a time point lacks a channel.
    """
    path = existing(path)
    with opened_file(path) as file:
        if LEVEL not in file:
            raise SourceError(f"{path} is not an Imaris file: it has no {LEVEL}")
        header, gone = _header(path, file), _gone(path, file)
    if gone:
        consent.absent(gone)
    return ImarisImage(header, path, Lazy(partial(opened_file, path)), gone)


def _name(time: int, channel: int) -> str:
    return f"{LEVEL}/TimePoint {time}/Channel {channel}/Data"


def _counts(file: Any) -> tuple[int, int]:
    """Number of time points, and of the channels of the one that has most."""
    points = [group for name, group in file[LEVEL].items() if name.startswith("TimePoint")]
    return len(points), max((len(group) for group in points), default=0)


def _names(times: int, channels: int) -> list[str]:
    return [_name(time, channel) for time in range(times) for channel in range(channels)]


def _gone(path: Path, file: Any) -> str:
    """Description of the missing datasets; empty if there is none."""
    times, channels = _counts(file)
    gone = [name for name in _names(times, channels) if name not in file]
    return f"{path} lacks {gone[0]}, one of {times} time points and {channels} channels" if gone else ""


def _header(path: Path, file: Any) -> Header:
    times, channels = _counts(file)
    first = next((file[name] for name in _names(times, channels) if name in file), None)
    if first is None:
        raise SourceError(f"{path} holds no voxels: it lacks all of its {times} time points and {channels} channels")
    shape = tuple(int(_text(first.parent, f"ImageSize{axis}") or size)
                  for axis, size in zip("ZYX", first.shape, strict=True))
    if any(size > stored for size, stored in zip(shape, first.shape, strict=True)):
        raise SourceError(f"{path} promises sections of {shape}, its first dataset has {first.shape}")
    whole = (times, channels, *shape)
    plain = Header.plain(name=str(path), shape=whole, dtype=first.dtype, axes="tczyx", chunk=(1, 1, *first.chunks))
    return _placed(plain, file, shape)


def _placed(header: Header, file: Any, shape: tuple[int, ...]) -> Header:
    """Add voxel size and offset, if the extents in the file are valid, and the names of the channels."""
    about = file.get("DataSetInfo/Image")
    names = tuple(_text(file.get(f"DataSetInfo/Channel {number}"), "Name") or "" for number in range(header.shape[1]))
    header = replace(header, channels=names if all(names) else ())
    try:
        low, high = ([float(_text(about, f"Ext{end}{axis}")) for axis in (2, 1, 0)] for end in ("Min", "Max"))
    except ValueError:
        return header
    scale = [(b - a) / size for a, b, size in zip(low, high, shape, strict=True)]
    if not (np.isfinite(scale).all() and min(scale) > 0):
        return header
    return replace(header, scale=(1.0, 1.0, *scale), offset=(0.0, 0.0, *low),
                   units=(None, None, *[unit_of(_text(about, "Unit"))] * 3))


def _text(node: Any, name: str) -> str:
    """An attribute, which Imaris stores as an array of single letters; empty if it is missing."""
    if node is None or name not in node.attrs:
        return ""
    return b"".join(np.atleast_1d(node.attrs[name]).astype("S").tolist()).decode("utf-8", "replace").strip()
