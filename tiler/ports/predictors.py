"""Networks as the engine sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from tiler.geometry import Box, Footprint, Shape, Span, Tile
from tiler.ports.volumes import Array, Json

Border = Literal["mirror", "zero"]
Tiling = Literal["exact", "blend", "whole"]


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
