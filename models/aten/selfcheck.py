"""Compare a network run in stages with one pass over the whole input, on a canvas small enough for both.

The canvas and the blocks are tiny, weights are random and everything is float64, so that a wrong index map, a padding
in the wrong place or a statistic of only a part shows as an error of order 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from tiler.models.aten.graph import NotStagedError, Size
from tiler.models.aten.modules import on_meta, quiet
from tiler.models.aten.random_weights import random_copy
from tiler.models.aten.sizes import canvases_of, first_taken, periods_of
from tiler.models.aten.staged import StagedPlan
from tiler.models.aten.staged_network import StagedNetwork

TOLERANCE = 1e-10
"""Largest difference, as a share of the output's range."""
CONDITION = 1000
"""Largest difference, as a multiple of the change that rounding the input once makes to the whole pass."""
BLOCKS = 12


@dataclass(frozen=True, slots=True)
class Staging:
    """Properties of a network that can be run in stages.

    Parameters
    ----------
    statistics
        Number of statistics of the whole input that it needs, for norms and for global means and maxima.
    stages
        Number of tensors stored on the small canvas, the output included.
    periods
        ``([z], y, x)``: the network takes sizes that are multiples of these.
    error
        Largest difference observed from one pass over the whole input, as a share of the output's range.
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
    """Run a network in stages and in one pass, and compare the results.

    Parameters
    ----------
    module
        Module or ScriptModule; it stays unchanged.
    in_channels, ndim
        Number of channels and of spatial axes of its input.

    Raises
    ------
    NotStagedError
        If the network cannot be run in stages, or gives a different result; the message says why.
    """
    with torch.inference_mode(False), torch.no_grad(), quiet():
        twin = random_copy(module, seed=0)
        meta = on_meta(twin)
        periods = periods_of(meta, in_channels, ndim)
        plan = first_taken(canvases_of(periods), lambda canvas: _plan(meta, in_channels, canvas))
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(plan.graph.nodes[0].shape, generator=generator, dtype=torch.float64)
        whole = twin(image)
        error = _apart(StagedNetwork(plan, twin)(image), whole)
        if not error <= TOLERANCE and not error <= CONDITION * _apart(twin(image * (1 + 2**-52)), whole):
            raise NotStagedError(f"its stages differ from one pass by {error:.1e} of the range")
    return Staging(plan.statistics, plan.stages, periods, error)


def _plan(meta: nn.Module, in_channels: int, canvas: Size) -> StagedPlan:
    return StagedPlan.of(meta, (1, in_channels, *canvas), max(1, math.prod(canvas) // BLOCKS))


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / (other.max() - other.min()))
