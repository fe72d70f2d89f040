"""Ports of volumes: sources, from which voxels are read, and sinks, to which they are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tiler.geometry import Box, Shape

Array = npt.NDArray[Any]
Json = Mapping[str, Any]
VolumeShape = tuple[int, int, int, int]


class ArrayLike(Protocol):
    """An array of any library: numpy, dask, zarr, ..."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, index: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Calibration:
    """Axes of the array that a volume came from, and its physical sizes.

    Parameters
    ----------
    axes
        Names of the source's axes without its channel axis, e.g. ``("y", "x")``, ``("t", "z", "y", "x")``.
    sizes
        Lengths of the axes. The volume's z is the product of all but the last two.
    scale
        Physical size of one step along each axis.
    units
        Unit of each scale as OME-NGFF spells it (``"nanometer"``, ``"second"``), None if unknown.
    offset
        Translation of the first voxel along each axis, in the same units.
    """

    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    scale: tuple[float, ...]
    units: tuple[str | None, ...]
    offset: tuple[float, ...]

    @classmethod
    def plain(cls, axes: Iterable[str], sizes: Iterable[int]) -> Calibration:
        """Return a calibration with voxels of size one, without unit, at the origin."""
        axes = tuple(axes)
        n = len(axes)
        return cls(axes, tuple(sizes), (1.0,) * n, (None,) * n, (0.0,) * n)


@runtime_checkable
class Source(Protocol):
    """A volume that can be read by region.

    Attributes
    ----------
    name
        Name in messages: a path, or ``"array"``.
    shape
        ``(c, z, y, x)``; a 2-D image has z = 1.
    dtype
        Type of the voxels, in the machine's byte order.
    calibration
        Axes and physical sizes.
    identity
        JSON that changes when the voxels change (path, size, modification time, ...); None for an array in
        memory, which cannot be resumed.
    read_unit
        Shape ``(z, y, x)`` of the unit that is decoded at once (chunk, strip, page); reads along it are cheapest.
    """

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> VolumeShape: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def calibration(self) -> Calibration: ...
    @property
    def identity(self) -> Json | None: ...
    @property
    def read_unit(self) -> Shape: ...

    def read(self, box: Box) -> Array:
        """Read the voxels ``(c, *box.shape)`` of a box inside the volume. Safe from several threads."""
        ...


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """Specification of an output, from which a sink is made.

    Parameters
    ----------
    shape
        ``(c, z, y, x)``: shape of the region to write.
    dtype
        Type of the voxels.
    calibration
        Axes, physical sizes and the region's offset.
    classes
        Names of the channels.
    channel_axis
        Whether the array gets a leading c; False for one channel, which then has the input's axes.
    block
        ``(z, y, x)`` of the blocks that will be written.
    chunk
        ``(z, y, x)`` of the storage chunks; divides ``block`` along axes that have more than one block.
    shard
        ``(z, y, x)`` of the shards, None for none; is divided by ``chunk``, divides ``block`` likewise.
    kind
        ``"probabilities"``, ``"labels"``, ``"mask"`` or ``"instances"``.
    ngff
        Version of OME-NGFF of a zarr output: ``"0.5"`` (zarr 3) or ``"0.4"`` (zarr 2, which has no shards).
    storage
        Options that say how the voxels are stored, by keyword; those that are missing are left to the sink.
    title
        Name of the image inside formats that store one: the input's name.
    values
        Number of values of labels, so that viewers can spread them over their grey values; 0 where it is unknown.
    """

    shape: VolumeShape
    dtype: np.dtype[Any]
    calibration: Calibration
    classes: tuple[str, ...]
    channel_axis: bool
    block: Shape
    chunk: Shape
    shard: Shape | None = None
    kind: str = "probabilities"
    ngff: str = "0.5"
    storage: Json = field(default_factory=dict)
    title: str = ""
    values: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """Disk space of an output, in bytes before compression.

    Parameters
    ----------
    output
        Space of the output itself, with its levels.
    temporary
        Space of temporary files until the output is whole.
    reserved
        Whether all the space is taken when the output is created, because nothing is compressed.
    """

    output: int
    temporary: int = 0
    reserved: bool = False


class Watch(Protocol):
    """Receives the progress of a sink that finishes its output, and may stop it between two pieces."""

    def begin(self, total: int) -> None:
        """Announce the total number of pieces."""
        ...

    def made(self, voxels: int) -> None:
        """Announce one more finished piece; an exception raised here stops the work, which can be started again."""
        ...


class Unwatched:
    """A watch that ignores progress."""

    def begin(self, total: int) -> None: ...
    def made(self, voxels: int) -> None: ...


UNWATCHED = Unwatched()


@runtime_checkable
class Sink(Protocol):
    """An output that is written block by block. Coordinates are those of the output: its first voxel is the origin.

    Attributes
    ----------
    name
        Name in messages.
    write_unit
        ``(z, y, x)``: shard, else chunk. Blocks are whole numbers of it, so no two writes touch one chunk.
    """

    @property
    def name(self) -> str: ...
    @property
    def write_unit(self) -> Shape: ...

    def create(self) -> None:
        """Create the empty output under its partial name; an older partial output is replaced."""
        ...

    def write(self, box: Box, data: Array) -> None:
        """Store ``data`` ``(c, *box.shape)``; durable when it returns. Safe from several threads."""
        ...

    def read(self, box: Box) -> Array:
        """Read the stored voxels ``(c, *box.shape)`` from the partial or the finished output."""
        ...

    @property
    def room(self) -> Room:
        """Disk space of the output; 0 bytes for outputs in memory."""
        ...

    def finish(self, attributes: Json, watch: Watch = UNWATCHED) -> None:
        """Store metadata and provenance, then give the output its final name; may be called again.

        Work that takes time (levels, compression, conversion) is reported to ``watch`` piece by piece.
        """
        ...


@runtime_checkable
class InspectedSink(Sink, Protocol):
    """A sink that can detect changes in the files that it wrote, beyond reading voxels."""

    def stamp(self, box: Box) -> str:
        """Stamp that changes when the stored files of a block change, without reading them; "" if unavailable."""
        ...

    def marks(self) -> Mapping[str, str]:
        """Hashes of the contents of a finished output other than voxels: its metadata and its list of chunks."""
        ...

    def level_faults(self) -> Iterator[str]:
        """Places where coarser levels of a finished output do not match level 0, one line each."""
        ...
