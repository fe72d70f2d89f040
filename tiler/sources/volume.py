"""The one `Source` of the package: any format's array, seen as a volume (c, z, y, x)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tiler.errors import SourceError, TilerError
from tiler.geometry import Box, Shape
from tiler.ports import Array, Calibration, Json, VolumeShape
from tiler.sources.axes import Channels, View, view_of
from tiler.sources.consent import Consent
from tiler.sources.indexing import read_index
from tiler.sources.raw import RawImage, native_dtype

LARGEST = 2**63
"""Bytes of a volume: file systems and array libraries count no further."""


@dataclass(frozen=True, slots=True)
class VolumeSource:
    """A `tiler.ports.Source` over an n-D array of some format.

    Parameters
    ----------
    raw
        The array.
    view
        Mapping between array and volume.
    dtype
        Type of the voxels that `read` returns.
    inverted
        Whether `read` returns `inverted_values`.
    """

    raw: RawImage = field(repr=False)
    view: View
    dtype: np.dtype[Any]
    inverted: bool = False

    @property
    def name(self) -> str:
        return self.raw.header.name

    @property
    def shape(self) -> VolumeShape:
        return self.view.shape

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels; empty if the format does not name them."""
        return tuple(self.raw.header.channels[number] for number in self.view.channels) if self._named else ()

    @property
    def _named(self) -> bool:
        """Whether there are as many names as channels: axes may have been named anew since."""
        return len(self.raw.header.channels) == self.view.count

    @property
    def read_unit(self) -> Shape:
        return self.view.unit(self.raw.header.chunk)

    @property
    def calibration(self) -> Calibration:
        header, kept = self.raw.header, self.view.kept
        places = [self.view.axes.index(axis) for axis in kept]
        return Calibration(
            axes=kept,
            sizes=tuple(self.view.sizes[i] for i in places),
            scale=tuple(header.scale[i] for i in places),
            units=tuple(header.units[i] for i in places),
            offset=tuple(header.offset[i] for i in places),
        )

    @property
    def identity(self) -> Json | None:
        with readable(f"{self.name} cannot be looked at"):
            stored = self.raw.identity()
        if stored is None:
            return None
        header = self.raw.header
        return {**stored, "shape": list(header.shape), "dtype": header.dtype.str, "axes": self.view.axes,
                "channels": list(self.view.channels), "time": self.view.time}

    def __getitem__(self, index: Any) -> Array:
        """A part of the volume (c, z, y, x), by numbers, slices and ``...``: ``volume[0, 3:8, :512]``."""
        return read_index(self, index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The whole volume (c, z, y, x), for `numpy.asarray`."""
        if copy is False:
            raise ValueError("a volume is read into new memory, so that a copy cannot be avoided")
        return np.asarray(read_index(self, ...), dtype)

    def check_region(self, box: Box, missing: str = "refuse") -> None:
        """Refuse a region without any chunk, if the format stores chunks separately.

        Raises
        ------
        SourceError
            If the user did not agree to read it as the fill value.
        """
        holds = getattr(self.raw, "holds", None)
        with readable(f"{self.name}: cannot look for {box}"):
            there = holds is None or any(holds(index) for index in self.view.indices(box))
        if not there:
            Consent(missing).absent(f"{self.name}: not one chunk of the region {box} is there", "its fill value")

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)``: the voxels of a box that lies inside the volume. Safe from several threads."""
        if not box.voxels or not Box.of_shape(self.shape[1:]).contains(box):
            raise SourceError(f"{self.name}: cannot read {box}, which is empty or leaves the volume "
                              f"of shape {self.shape[1:]}")
        with readable(f"{self.name}: cannot read {box}"):
            found = self.view.read(box, self.raw.fetch)
        values = np.ascontiguousarray(found, dtype=self.dtype)
        return inverted_values(values) if self.inverted else values


def inverted_values(values: Array) -> Array:
    """Integers between the same bounds (255 - v for uint8, -1 - v for signed ones), floats with another sign."""
    return -values if values.dtype.kind == "f" else np.invert(values)


def volume_of(raw: RawImage, *, axes: str | None, channel: Channels, time: int | None) -> VolumeSource:
    """Check an array and see it as a volume.

    Raises
    ------
    SourceError
        For arrays that are empty or hold no real numbers, and for axes, channels or times it does not have.
    """
    header = raw.header
    if len(header.shape) < 2:
        raise SourceError(f"{header.name} has {len(header.shape)} axes, of shape {header.shape}: "
                          "an image has at least 2")
    if 0 in header.shape:
        raise SourceError(f"{header.name} is empty: its shape is {header.shape}")
    dtype = native_dtype(header.dtype, header.name)
    if math.prod(header.shape) * dtype.itemsize > LARGEST:
        raise SourceError(f"{header.name} claims more voxels than any file can hold: its shape is "
                          f"{str(header.shape)[:80]}")
    if min(header.chunk) < 1:
        raise SourceError(f"{header.name} claims chunks of {header.chunk} voxels")
    view = view_of(name=header.name, axes=header.axes, shape=header.shape,
                   override=axes, names=header.channels, channel=channel, time=time)
    return VolumeSource(raw, view, dtype)


@contextmanager
def readable(refusal: str) -> Iterator[None]:
    """Turn errors of codecs and libraries of formats, which can be anything, into a `SourceError` of one line.

    Parameters
    ----------
    refusal
        Begin of the message: the file, and what cannot be done with it.

    Raises
    ------
    SourceError
        For anything but tiler's own errors and a lack of memory.
    """
    try:
        yield
    except (TilerError, MemoryError):
        raise
    except Exception as error:
        raise SourceError(f"{refusal}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An error of another library as one line."""
    return " ".join(str(error).split()) or type(error).__name__
