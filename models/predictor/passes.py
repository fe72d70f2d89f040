"""Predictors of networks with global layers: several passes, of which all but the last reduce."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from tiler.errors import ModelError
from tiler.geometry import Box, Shape
from tiler.models.inference.cost import overhead
from tiler.models.inference.network import Session
from tiler.models.predictor.averaging import Turns
from tiler.models.probe.inject import Answers, CallSite, answers_of
from tiler.models.probe.passes import Pass
from tiler.ports import Array, Capabilities, Cost, Partial, Reduction, Totals

if TYPE_CHECKING:
    from tiler.models.predictor.torch_predictor import TorchPredictor


@dataclass(frozen=True, slots=True)
class ToldTiles:
    """An `Evaluator` of whole tiles whose global layers use the results of earlier passes over the whole input.

    Parameters
    ----------
    passes
        The passes before the last one.
    totals
        Their results for the network input that comes next.
    """

    passes: tuple[Pass, ...]
    totals: Totals = field(default=(), repr=False)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {}

    @property
    def copies(self) -> int:
        return 0

    def check(self) -> None:
        if len(self.totals) != len(self.passes):
            raise ModelError(f"the network has global layers: {len(self.passes)} pass(es) over the whole of its input "
                             "must come first, and with_totals after each of them")

    def answers(self, orientation: int) -> Answers:
        """Results of the first passes for the global layers, in one orientation."""
        answers: dict[CallSite, torch.Tensor] = {}
        for each, found in zip(self.passes, self.totals, strict=False):
            answers |= answers_of(each.sites, found[orientation])
        return answers

    def live(self, traced: int, shape: tuple[int, ...]) -> int:
        return traced

    def scores(self, session: Session, x: torch.Tensor, orientation: int) -> torch.Tensor:
        return session(x, self.answers(orientation))

    def capabilities(self, base: Capabilities, predictor: TorchPredictor) -> Capabilities:
        return replace(base, passes=TorchPasses(predictor, self))


@dataclass(frozen=True, slots=True)
class TorchPasses:
    """`tiler.ports.Passes` of a predictor."""

    predictor: TorchPredictor
    told: ToldTiles

    @property
    def reductions(self) -> tuple[tuple[Reduction, ...], ...]:
        return tuple(tuple(Reduction(turn.footprint(each.footprint), turn.phase(each.footprint))
                           for turn in self._orientations.turns) for each in self.told.passes)

    @property
    def of_slices(self) -> bool:
        return self.predictor.model.ndim == 2

    @property
    def _orientations(self) -> Turns:
        orientations = self.predictor.orientations
        assert isinstance(orientations, Turns), "a rotated slice has no whole input to reduce"
        return orientations

    def reduction_cost(self, level: int, tile: Shape) -> Cost:
        """The reduction of one tile in one orientation of that pass."""
        own = self.predictor
        trace = own.tracer.at((1, own.in_channels, *tile[3 - own.model.ndim :]), self.told.passes[level].sites)
        extra = overhead(own.network.device.type, own.network.precision)
        beside = 2 * own.network.exact_type.itemsize * math.prod(tile) * own.in_channels
        return Cost(trace.flops, extra.peak(trace.live, own.tracer.parameters) + beside, trace.exact)

    def with_totals(self, totals: Totals) -> TorchPredictor:
        """The predictor for the next network input, with the results of the passes so far."""
        return replace(self.predictor, evaluator=replace(self.told, totals=totals))

    def reduce(self, orientation: int, tile: Array, core: Box, totals: Totals) -> Partial:
        """Run the next pass over one tile ``(c, *tile)``: the contribution of its core, in coordinates of the tile."""
        turn, sites = self._orientations.turns[orientation], self.told.passes[len(totals)].sites
        first, own = 3 - self.predictor.model.ndim, self.predictor
        part = Box(turn.part(core, tile.shape[1:]).spans[first:])
        with own.network.session() as session:
            x = turn.apply(own.prepared(session, tile.reshape(1, len(tile), *tile.shape[1 + first :])))
            return session.reduce(x, sites, part, replace(self.told, totals=totals).answers(orientation))
