"""A network run in stages, held to one pass over the whole input on a canvas small enough for both.

The canvas is tiny, blocks are tinier, weights are random and everything is float64: a wrong index map, a padding in
the wrong place or a statistic of a part shows as an error of order 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from tiler.models.aten.graph import NotStagedError, Size
from tiler.models.aten.modules import on_meta, quiet
from tiler.models.aten.random_weights import random_copy
from tiler.models.aten.record import record
from tiler.models.aten.sizes import LEAST_SIDES, canvas_of, first_taken, least_periods
from tiler.models.aten.staged import StagedNetwork, StagedPlan

TOLERANCE = 1e-10
"""Largest difference, as a share of the output's range."""
CONDITION = 1000
"""How many times what one rounding of the input does to the whole pass may lie between the two."""
BLOCKS = 12


@dataclass(frozen=True, slots=True)
class Staging:
    """What is known of a network that can be run in stages.

    Parameters
    ----------
    statistics
        How many statistics of the whole input it needs: of norms, and of global means and maxima.
    stages
        How many tensors are stored on the small canvas, the output included.
    periods
        ``([z], y, x)``: the sizes that it takes are multiples of them.
    error
        Largest difference from one pass over the whole input that was seen, as a share of the range.
    """

    statistics: int
    stages: int
    periods: Size
    error: float

    def __str__(self) -> str:
        if not self.statistics:
            return "exact in stages"
        return f"exact; {self.statistics} statistic{'s' if self.statistics > 1 else ''} of the whole input"


def check_stages(module: nn.Module, in_channels: int, ndim: int) -> Staging:
    """Run a network both ways and compare.

    Parameters
    ----------
    module
        Module or ScriptModule; it is not changed.
    in_channels, ndim
        Channels and axes of its input.

    Raises
    ------
    NotStagedError
        If the network cannot be run in stages, or not with the same result; the message says why.
    """
    with torch.inference_mode(False), torch.no_grad(), quiet():
        twin = random_copy(module, seed=0)
        meta = on_meta(twin)
        periods = least_periods(lambda canvas: _kept(meta, in_channels, canvas), ndim)
        plan = first_taken(LEAST_SIDES, lambda least: _plan(meta, in_channels, canvas_of(periods, least)))
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(plan.graph.nodes[0].shape, generator=generator, dtype=torch.float64)
        whole = twin(image)
        error = _apart(StagedNetwork(plan, twin)(image), whole)
        if not error <= TOLERANCE and not error <= CONDITION * _apart(twin(image * (1 + 2**-52)), whole):
            raise NotStagedError(f"its stages differ from one pass by {error:.1e} of the range")
    return Staging(plan.statistics, plan.stages, periods, error)


def _plan(meta: nn.Module, in_channels: int, canvas: Size) -> StagedPlan:
    return StagedPlan.of(meta, (1, in_channels, *canvas), max(1, math.prod(canvas) // BLOCKS))


def _kept(meta: nn.Module, in_channels: int, canvas: Size) -> Size:
    graph = record(meta, (1, in_channels, *canvas))
    return graph.nodes[graph.output].shape[2:]


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / (other.max() - other.min()))
