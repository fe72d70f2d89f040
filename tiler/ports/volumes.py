"""Where voxels come from and where they go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tiler.geometry import Box, Shape

Array = npt.NDArray[Any]
Json = Mapping[str, Any]
VolumeShape = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the voxels of a volume lie in the world and in the array that they came from.

    Parameters
    ----------
    axes
        Names of the source's axes without its channel axis, e.g. ``("y", "x")``, ``("t", "z", "y", "x")``.
    sizes
        Their lengths. The volume's z is the product of all but the last two.
    scale
        Physical size of one step along each axis.
    units
        Unit of each scale as OME-NGFF spells it (``"nanometer"``, ``"second"``), None where unknown.
    offset
        Translation of the first voxel along each axis, in those units.
    """

    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    scale: tuple[float, ...]
    units: tuple[str | None, ...]
    offset: tuple[float, ...]

    @classmethod
    def plain(cls, axes: Iterable[str], sizes: Iterable[int]) -> Calibration:
        """Voxels of size one, without unit, at the origin."""
        axes = tuple(axes)
        n = len(axes)
        return cls(axes, tuple(sizes), (1.0,) * n, (None,) * n, (0.0,) * n)


@runtime_checkable
class Source(Protocol):
    """A volume that can be read by region.

    Attributes
    ----------
    name
        What to call it in messages: a path, or ``"array"``.
    shape
        ``(c, z, y, x)``; a 2-D image has z = 1.
    dtype
        Of the voxels, in the machine's byte order.
    calibration
        Axes and physical sizes.
    identity
        JSON that changes when the voxels change (path, size, modification time, ...); None for an array in
        memory, which cannot be resumed.
    read_unit
        ``(z, y, x)`` of what is decoded at once (chunk, strip, page); reads along it are cheapest.
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
        """``(c, *box.shape)``: the voxels of a box that lies inside the volume. Safe from several threads."""
        ...


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What a sink is made for.

    Parameters
    ----------
    shape
        ``(c, z, y, x)`` of the region that is written.
    dtype
        Of the voxels.
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
        ``"probabilities"``, ``"labels"`` or ``"instances"``.
    ngff
        Version of OME-NGFF of a zarr output: ``"0.5"`` (zarr 3) or ``"0.4"`` (zarr 2, which has no shards).
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


@dataclass(frozen=True, slots=True)
class Room:
    """What an output takes of the disk, in bytes before compression.

    Parameters
    ----------
    output
        The output itself, with its levels.
    temporary
        What lies beside it until it is whole.
    reserved
        Whether all of it is taken as soon as the output is created: nothing is compressed.
    """

    output: int
    temporary: int = 0
    reserved: bool = False


class Watch(Protocol):
    """Hears how far a sink has got with finishing its output, and may stop it between two pieces."""

    def begin(self, total: int) -> None:
        """There are ``total`` pieces to make."""
        ...

    def made(self, voxels: int) -> None:
        """One more is made; what this raises ends the work, which then can be begun again."""
        ...


class Unwatched:
    """Nobody looks."""

    def begin(self, total: int) -> None: ...
    def made(self, voxels: int) -> None: ...


UNWATCHED = Unwatched()


@runtime_checkable
class Sink(Protocol):
    """Where the result goes. Coordinates are those of the output: its first voxel is at the origin.

    Attributes
    ----------
    name
        What to call it in messages.
    write_unit
        ``(z, y, x)``: shard, else chunk. Blocks are whole numbers of it, so no two writes touch one chunk.
    """

    @property
    def name(self) -> str: ...
    @property
    def write_unit(self) -> Shape: ...

    def create(self) -> None:
        """Make the empty output under its partial name, replacing an older partial one."""
        ...

    def write(self, box: Box, data: Array) -> None:
        """Store ``data`` ``(c, *box.shape)``; durable when it returns. Safe from several threads."""
        ...

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)`` as stored, from the partial or the finished output."""
        ...

    @property
    def room(self) -> Room:
        """What it takes of the disk; nothing for what is kept in memory."""
        ...

    def finish(self, attributes: Json, watch: Watch = UNWATCHED) -> None:
        """Store metadata and provenance, then give the output its final name; may be called again.

        Whatever takes its time here (levels, compression, conversion) is told to ``watch`` piece by piece.
        """
        ...
