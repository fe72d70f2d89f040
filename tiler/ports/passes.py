"""The passes before the last one, for networks with layers that use their whole input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tiler.geometry import Box, Footprint, Shape, Tile
from tiler.ports.volumes import Array

if TYPE_CHECKING:
    from tiler.ports.predictors import Cost, Predictor


@dataclass(frozen=True, slots=True)
class Partial:
    """Reduced input of global layers over a part of a network input; parts add up to the whole.

    Parameters
    ----------
    sums, maxima
        ``(n,)`` float64. For two parts the sums are added, and the larger maxima are kept.
    """

    sums: Array
    maxima: Array

    def __add__(self, other: Partial) -> Partial:
        return Partial(self.sums + other.sums, np.maximum(self.maxima, other.maxima))


@dataclass(frozen=True, slots=True)
class Reduction:
    """Reduction of one orientation of a network input, tile by tile.

    Parameters
    ----------
    footprint
        Context of the cells in a core, along (z, y, x) of the image; its tiles are those of the predictor.
    phase
        Offset of the stride grid in the volume; cores begin at ``phase`` plus whole strides.
    """

    footprint: Footprint
    phase: Shape


Totals = tuple[tuple[Partial, ...], ...]
"""Results of the passes for one network input: for each pass one for each orientation."""


@dataclass(frozen=True, slots=True)
class Known:
    """Results of the passes so far, for every network input.

    Parameters
    ----------
    totals
        Results by number of the input.
    of_slices
        Whether an input is a slice, and its number is z; else it is the volume, number 0.
    """

    totals: Mapping[int, Totals]
    of_slices: bool

    def input_of(self, tile: Tile) -> int:
        """Return the number of the network input that a tile belongs to."""
        return tile.write.start[0] if self.of_slices else 0

    def of(self, tile: Tile) -> Totals:
        return self.totals.get(self.input_of(tile), ())


class Passes(Protocol):
    """The passes before the last one, for a network with layers that use its whole input.

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
        """Return the cost of one tile in one orientation of this pass."""
        ...

    def with_totals(self, totals: Totals) -> Predictor:
        """Return the predictor that uses the results of the passes so far for its network input."""
        ...

    def reduce(self, orientation: int, tile: Array, core: Box, totals: Totals) -> Partial:
        """Run the pass after those in `totals` over a tile ``(c, *tile)``; reduce its core (in the tile's frame)."""
        ...
