"""The ports of the engine: what a source, a sink, a predictor, an executor and a listener must do.

Implementations are cheap to build, picklable, and open files, networks and devices on first use, once per
process. `tiler.testing` holds the conformance suite of each port.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tiler.geometry import Box, Footprint, Shape, Span, Tile

if TYPE_CHECKING:
    import threading

Array = npt.NDArray[Any]
Json = Mapping[str, Any]
Border = Literal["mirror", "zero"]
Tiling = Literal["exact", "blend", "whole"]
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


@dataclass(frozen=True, slots=True)
class Cost:
    """What one forward pass of one tile takes.

    Parameters
    ----------
    flops
        Floating-point operations; a multiply-add counts as two.
    bytes
        Peak memory of the pass in bytes, input and output included.
    exact
        Whether the figures come from a trace of the network, not from measuring small tiles.
    """

    flops: float
    bytes: int
    exact: bool = True


@runtime_checkable
class Predictor(Protocol):
    """A network with all that changes its result: weights, normalisation, averaging, head, output type.

    Attributes
    ----------
    footprint
        Of all that together, on (z, y, x).
    border
        What the canvas holds beyond the volume, by default.
    in_channels
        Channels of the batch.
    classes
        Names of the output channels.
    dtype
        Of the output.
    identity
        JSON that changes when the result changes.
    expects
        Mean and standard deviation of each channel's grey values in the data that the weights were trained
        on, where the normalisation relies on them; None where it does not.
    """

    @property
    def footprint(self) -> Footprint: ...
    @property
    def border(self) -> Border: ...
    @property
    def in_channels(self) -> int: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def identity(self) -> Json: ...
    @property
    def expects(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None: ...

    def cost(self, tile: Shape, batch: int) -> Cost:
        """Of one batch of tiles."""
        ...

    def with_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Predictor:
        """The same predictor, normalising each input channel with these, in the source's grey values."""
        ...

    def __call__(self, batch: Array) -> Array:
        """``(n, channels, *footprint.output(tile))`` for a batch ``(n, c, *tile)`` in the source's dtype."""
        ...


@runtime_checkable
class CroppingPredictor(Predictor, Protocol):
    """A predictor that can make a box of a tile's output without making the rest."""

    def cropped(self, batch: Array, crop: Box) -> Array:
        """``(n, channels, *crop.shape)``: what the whole output for the batch holds in that box."""
        ...

    def crop_flops(self, tile: Shape, crops: Sequence[Mapping[Span, int]]) -> float:
        """Operations for all crops that are products of such spans, one mapping an axis: how often each occurs."""
        ...


@runtime_checkable
class WindowedPredictor(Predictor, Protocol):
    """A predictor of a network that no tiling computes exactly.

    Attributes
    ----------
    tiling
        "blend", for windows that overlap and are averaged, or "whole", for inputs in one piece; "exact" where the
        network can be tiled after all.
    inexact
        Why it cannot: layer and reason.
    channels
        Of `soft`.
    """

    @property
    def tiling(self) -> Tiling: ...
    @property
    def inexact(self) -> str: ...
    @property
    def channels(self) -> int: ...

    def soft(self, batch: Array) -> Array:
        """``(n, channels, *tile)`` floating point for a batch ``(n, c, *tile)``: values of which a mean makes sense."""
        ...

    def written(self, values: Array) -> Array:
        """What is written for such values ``(channels, *size)``, in the output's type and classes."""
        ...


def tiling_of(predictor: Predictor) -> Tiling:
    """How a predictor is to be run; in exact tiles unless it says otherwise."""
    return getattr(predictor, "tiling", "exact")


def feeders_of(predictor: Predictor) -> int:
    """How many threads may call a predictor at once; one unless it says otherwise.

    Each is served by a device, or by a part of one. Which of them serves a call changes no result.
    """
    return getattr(predictor, "feeders", 1)


def device_memory_of(predictor: Predictor) -> int | None:
    """Bytes that each pass of a predictor may take on its device; None where passes take the machine's own memory."""
    return getattr(predictor, "device_memory", None)


@dataclass(frozen=True, slots=True)
class Partial:
    """What global layers look at, reduced over a part of a network input: parts add up to the whole.

    Parameters
    ----------
    sums, maxima
        (n,) float64; of two parts the sums are added, of the maxima the larger ones are kept.
    """

    sums: Array
    maxima: Array

    def __add__(self, other: Partial) -> Partial:
        return Partial(self.sums + other.sums, np.maximum(self.maxima, other.maxima))


@dataclass(frozen=True, slots=True)
class Reduction:
    """How one orientation of a network input is reduced, tile by tile.

    Parameters
    ----------
    footprint
        Context that the cells in a core need, on (z, y, x) of the image; its tiles are those of the predictor.
    phase
        Where the stride grid of the cells lies in the volume: cores begin at phase plus whole strides.
    """

    footprint: Footprint
    phase: Shape


Totals = tuple[tuple[Partial, ...], ...]
"""Of one network input: what each pass found, one for each orientation."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the passes so far have found of every network input.

    Parameters
    ----------
    totals
        By number of the input.
    of_slices
        Whether an input is a slice, and its number is z; else it is the volume, number 0.
    """

    totals: Mapping[int, Totals]
    of_slices: bool

    def input_of(self, tile: Tile) -> int:
        """Number of the network input that a tile belongs to."""
        return tile.write.start[0] if self.of_slices else 0

    def of(self, tile: Tile) -> Totals:
        return self.totals.get(self.input_of(tile), ())


@runtime_checkable
class GlobalPredictor(Predictor, Protocol):
    """A predictor whose network has layers that look at the whole of its input: exact in several passes.

    Attributes
    ----------
    reductions
        One tuple for each pass before the last, with one `Reduction` for each orientation; empty where the
        network has no such layers.
    of_slices
        Whether a network input is one slice, else it is the volume.
    """

    @property
    def reductions(self) -> tuple[tuple[Reduction, ...], ...]: ...
    @property
    def of_slices(self) -> bool: ...

    def reduction_cost(self, level: int, tile: Shape) -> Cost:
        """Of one tile in one orientation of that pass."""
        ...

    def with_totals(self, totals: Totals) -> GlobalPredictor:
        """The same predictor, told what the passes so far have found of the network input that it will see."""
        ...

    def reduce(self, orientation: int, tile: Array, core: Box) -> Partial:
        """The next pass over one tile ``(c, *tile)``: what its core adds, in coordinates of the tile."""
        ...


class Listener(Protocol):
    """Hears what a run does. Called from the driver's thread only."""

    def started(self, total: int, done: int) -> None:
        """A stage of ``total`` blocks (in "finish": pieces) begins, of which ``done`` are already journalled."""
        ...

    def finished_block(self, index: int, voxels: int) -> None: ...

    def stage(self, name: str) -> None:
        """What comes next: "statistics", "pass 1", "model", "instances", "finish"."""
        ...

    def warn(self, message: str) -> None: ...


class Job(Protocol):
    """The work of one stage, cut into numbered blocks. Picklable.

    Attributes
    ----------
    feeders
        How many threads may compute at once.
    """

    @property
    def feeders(self) -> int: ...

    def where(self, index: int) -> str:
        """The box of a block, for messages."""
        ...

    def read(self, index: int) -> Any:
        """Fetch what block ``index`` needs. Input only: safe to run ahead in another thread."""
        ...

    def compute(self, index: int, window: Any) -> Any:
        """Turn it into the block's result. Runs in as many threads as there are feeders."""
        ...

    def write(self, index: int, result: Any) -> Json:
        """Store it durably and return what the journal records."""
        ...


@dataclass(frozen=True, slots=True)
class Finished:
    """A block that is durable, and what the journal records of it."""

    index: int
    record: Json = field(default_factory=dict)


class Executor(Protocol):
    """Runs a job's blocks. What it does may not change any result."""

    def run(self, job: Job, indices: Iterable[int], stop: threading.Event) -> Iterator[Finished]:
        """Yield blocks as they become durable, in any order.

        Once ``stop`` is set no new block is begun; those under way are finished and yielded. An error in
        any stage is raised here as `tiler.errors.BlockFailed`, after the threads have ended.
        """
        ...
