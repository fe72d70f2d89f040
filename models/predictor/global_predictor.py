"""The predictor of networks with global layers: several passes, of which the first ones reduce."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace

import torch

from tiler.errors import ModelError
from tiler.geometry import Box, Shape
from tiler.models.inference.cost import overhead
from tiler.models.predictor.torch_predictor import TorchPredictor
from tiler.models.probe.inject import CallSite, answers_of
from tiler.models.probe.passes import Pass
from tiler.ports import Array, Cost, Partial, Reduction, Totals


@dataclass(frozen=True)
class GlobalTorchPredictor(TorchPredictor):
    """A `tiler.ports.GlobalPredictor`.

    Parameters
    ----------
    passes
        That come before the last one.
    totals
        What they found of the network input that is seen next; see `with_totals`.
    """

    passes: tuple[Pass, ...] = ()
    totals: Totals = field(default=(), repr=False)

    @property
    def reductions(self) -> tuple[tuple[Reduction, ...], ...]:
        return tuple(tuple(Reduction(turn.footprint(each.footprint), turn.phase(each.footprint))
                           for turn in self._turns) for each in self.passes)

    @property
    def of_slices(self) -> bool:
        return self.model.ndim == 2

    def reduction_cost(self, level: int, tile: Shape) -> Cost:
        """Of one tile in one orientation of that pass."""
        trace = self.tracer.at((1, self.in_channels, *tile[3 - self.model.ndim :]), self.passes[level].sites)
        extra = overhead(self.network.device.type, self.network.precision)
        beside = 2 * self.network.exact_type.itemsize * math.prod(tile) * self.in_channels
        return Cost(trace.flops, extra.peak(trace.live, self.tracer.parameters) + beside, trace.exact)

    def with_totals(self, totals: Totals) -> GlobalTorchPredictor:
        """The same predictor, told what the passes so far have found of the network input that it will see."""
        return replace(self, totals=totals)

    def reduce(self, orientation: int, tile: Array, core: Box) -> Partial:
        """The next pass over one tile ``(c, *tile)``: what its core adds, in coordinates of the tile."""
        turn, sites = self._turns[orientation], self.passes[len(self.totals)].sites
        first = 3 - self.model.ndim
        part = Box(turn.part(core, tile.shape[1:]).spans[first:])
        with self.network.session() as session:
            x = turn.apply(self._prepared(session, tile.reshape(1, len(tile), *tile.shape[1 + first :])))
            return session.reduce(x, sites, part, self._answers(orientation))

    def _answers(self, orientation: int) -> dict[CallSite, torch.Tensor]:
        """What the global layers are told under one orientation."""
        answers: dict[CallSite, torch.Tensor] = {}
        for each, found in zip(self.passes, self.totals, strict=False):
            answers |= answers_of(each.sites, found[orientation])
        return answers

    def _check(self, batch: Array) -> None:
        super()._check(batch)
        if len(self.totals) != len(self.passes):
            raise ModelError(f"the network has global layers: {len(self.passes)} pass(es) over the whole of its input "
                             "must come first, and with_totals after each of them")


def with_passes(predictor: TorchPredictor, passes: tuple[Pass, ...]) -> GlobalTorchPredictor:
    """The same predictor, running these passes before the last one."""
    own = {each.name: getattr(predictor, each.name) for each in fields(predictor)}
    return GlobalTorchPredictor(**own, passes=passes)
