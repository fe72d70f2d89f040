"""Networks as the engine sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from tiler.geometry import Box, Footprint, Shape, Span, Tile
from tiler.ports.volumes import Array, Json

Border = Literal["mirror", "zero"]
Tiling = Literal["exact", "blend", "whole", "stages"]
Meaning = Literal["probabilities", "labels"]


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
    capabilities
        What else it can do, and what its values mean; ``Capabilities()`` for a predictor that is tiled exactly,
        called by one thread, and gives probabilities.
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
    @property
    def capabilities(self) -> Capabilities: ...

    def cost(self, tile: Shape, batch: int) -> Cost:
        """Of one batch of tiles."""
        ...

    def with_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Predictor:
        """The same predictor, normalising each input channel with these, in the source's grey values."""
        ...

    def __call__(self, batch: Array) -> Array:
        """``(n, channels, *footprint.output(tile))`` for a batch ``(n, c, *tile)`` in the source's dtype."""
        ...


class TorchModule(Protocol):
    """A ``torch.nn.Module``, as far as the engine looks at it."""

    def parameters(self, recurse: bool = True) -> Iterator[Any]: ...
    def eval(self) -> Any: ...


PREDICTOR = ("footprint", "border", "in_channels", "classes", "dtype", "identity", "expects", "capabilities", "cost",
             "with_statistics", "__call__")
"""Everything that a predictor must have."""


def missing_in(candidate: object) -> tuple[str, ...]:
    """Which attributes and methods of `Predictor` an object lacks; empty for a predictor."""
    return tuple(name for name in PREDICTOR if not hasattr(candidate, name))


class Crops(Protocol):
    """Makes a box of a tile's output without making the rest."""

    def cropped(self, batch: Array, crop: Box) -> Array:
        """``(n, channels, *crop.shape)``: what the whole output for the batch holds in that box."""
        ...

    def crop_flops(self, tile: Shape, crops: Sequence[Mapping[Span, int]]) -> float:
        """Operations for all crops that are products of such spans, one mapping an axis: how often each occurs."""
        ...


class Soft(Protocol):
    """Values that can be averaged where windows overlap, and what is written for their mean.

    Attributes
    ----------
    channels
        Of `soft`.
    """

    @property
    def channels(self) -> int: ...

    def soft(self, batch: Array) -> Array:
        """``(n, channels, *tile)`` floating point for a batch ``(n, c, *tile)``."""
        ...

    def written(self, values: Array) -> Array:
        """What is written for such values ``(channels, *size)``, in the output's type and classes."""
        ...


class Measures(Protocol):
    """How a model scales its input by statistics of it."""

    @property
    def rule(self) -> str:
        """As ``--normalise`` has it: ``volume`` or ``volume:LOW,HIGH``."""
        ...

    @property
    def each_input(self) -> bool:
        """Whether every input of the network has statistics of its own."""
        ...

    def scaling(
        self, centre: tuple[float, ...], spread: tuple[float, ...]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What is subtracted from each channel, and what it is divided by."""
        ...


@dataclass(frozen=True, slots=True)
class OwnScaling:
    """That a model scales its input by statistics of it, and nobody asked for another scaling.

    Parameters
    ----------
    measures
        Which statistics it uses, and how.
    done
        The same predictor for inputs that have been scaled already.
    """

    measures: Measures
    done: Predictor


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a predictor can do beside computing whole tiles, and what its values mean.

    Parameters
    ----------
    meaning
        "probabilities": a value for each class (scores, where the network has no head); "labels": one channel of
        class indices, of which objects can be made.
    tiling
        How it is run: in "exact" tiles, or, where no tiling computes its network exactly, in windows that overlap and
        are averaged ("blend"), with every input in one piece ("whole"), or in stages, which take every input in one
        piece too, keep some of the network's tensors, and make the result of the whole ("stages").
    inexact
        Why it cannot be tiled exactly, where it cannot: layer and reason.
    feeders
        How many threads may call it at once. Each is served by a device, or by a part of one; which of them serves a
        call changes no result.
    device_memory
        Bytes that each pass may take on its device; None where passes take the machine's own memory.
    needs_statistics
        Whether `with_statistics` must be called before the first batch.
    own_scaling
        How the model scales its input by statistics of it; None where it does not.
    crops
        Makes parts of an output; None where only whole tiles are computed.
    soft
        Values to average; needed where `tiling` is "blend".
    passes
        What comes before the last pass of a network whose layers look at the whole of its input; None where there are
        no such layers.
    """

    meaning: Meaning = "probabilities"
    tiling: Tiling = "exact"
    inexact: str = ""
    feeders: int = 1
    device_memory: int | None = None
    needs_statistics: bool = False
    own_scaling: OwnScaling | None = None
    crops: Crops | None = None
    soft: Soft | None = None
    passes: Passes | None = None

    @property
    def in_one_piece(self) -> bool:
        """Whether each network input is one tile: a slice, or the volume."""
        return self.tiling in ("whole", "stages")


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


class Passes(Protocol):
    """The passes before the last one, for a network whose layers look at the whole of its input.

    Attributes
    ----------
    reductions
        One tuple for each pass before the last, with one `Reduction` for each orientation; at least one.
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

    def with_totals(self, totals: Totals) -> Predictor:
        """The predictor, told what the passes so far have found of the network input that it will see."""
        ...

    def reduce(self, orientation: int, tile: Array, core: Box, totals: Totals) -> Partial:
        """The pass after those of `totals`, over one tile ``(c, *tile)``: what its core adds, in the tile's frame."""
        ...
