"""Experiments in float64 that a footprint must pass, on a copy of the network with random weights.

On one axis, with a core of whole strides at 0 (low and high are unrounded in the first two)::

    context    NaN NaN [===low===|core|===high===] NaN NaN      the core stays finite
    control      NaN [==low-1====|core|===high===]              NaN arrives, one voxel nearer, each side in turn
    agreement        [===low===|core|===high===]                the core is the same from both tiles
             [stride|===low===|core|===high===|stride]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.geometry import Box, Footprint
from tiler.models.aten.modules import quiet
from tiler.models.aten.random_weights import random_copy
from tiler.models.probe.graph import Offence
from tiler.models.probe.report import AXES, Context, ProofPart
from tiler.models.probe.trace import trace_forward

TOLERANCE = 1e-10
"""Largest difference of two tiles, as a share of the output's range."""
LEAST_SPREAD = 0.01
"""Smallest standard deviation of an output that says anything."""

_DRAWS = 5
_LEAST_CORE = 8


def prove(
    module: nn.Module,
    footprint: Footprint,
    in_channels: int,
    ndim: int = 2,
    context: Context | None = None,
    *,
    swallows: Sequence[Offence] | None = None,
) -> tuple[ProofPart, ...]:
    """Test a footprint on a float64 copy of the network with random weights, on the CPU.

    Parameters
    ----------
    module
        Module or ScriptModule; it is not changed.
    footprint
        Over (z, y, x), derived or declared.
    in_channels, ndim
        Channels and axes of the input.
    context
        The same context unrounded. If it is given, NaN must stay out at this distance and arrive one voxel nearer.
        Otherwise the rounded context is tested, and NaN must arrive from inside the core.
    swallows
        Layers that may turn NaN into finite values, so that both experiments with NaN prove nothing. None looks for
        them.

    Returns
    -------
    parts
        One result for each experiment; a network that fails on a legal tile gives a single failed one.
    """
    axes = slice(3 - ndim, None)
    footprint = Footprint.of(footprint.axes[axes])
    context = context and Context(context.low[axes], context.high[axes])
    try:
        with torch.no_grad(), quiet():
            bench, agreement = _varied(module, footprint, in_channels, context)
            if swallows is None:
                swallows = trace_forward(bench.module, in_channels, footprint.smallest).swallows
            if swallows:
                cannot = f"cannot prove: {swallows[0]}"
                return ProofPart("context", False, cannot), ProofPart("control", False, cannot), agreement
            return _context(bench), _control(bench), agreement
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError, ModelError) as error:
        reason = " ".join(str(error).split())[:300]
        return (ProofPart("run", False, f"the network fails on a tile that the footprint admits: {reason}"),)


def _varied(
    module: nn.Module, footprint: Footprint, in_channels: int, context: Context | None
) -> tuple[_Bench, ProofPart]:
    """Return a bench whose output varies, and the agreement of two tiles; narrow networks may need several draws."""
    for seed in range(_DRAWS):
        bench = _Bench(random_copy(module, seed), footprint, in_channels, context)
        small, large = (bench.core(bench.image(tile), tile) for tile in (bench.tile(), bench.tile(more=1)))
        if not large.std() <= LEAST_SPREAD:
            break
    return bench, _agreement(bench, small, large)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Network, footprint and inputs of one proof; boxes have the first core's start as origin."""

    module: nn.Module
    footprint: Footprint
    in_channels: int
    context: Context | None

    @property
    def core_shape(self) -> tuple[int, ...]:
        """One stride, or more if that holds too few values to compare."""
        return tuple(-(-_LEAST_CORE // s) * s for s in self.footprint.stride)

    @property
    def needed(self) -> Box:
        """Box that the core is claimed to depend on."""
        low, high = (self.footprint.low, self.footprint.high) if self.context is None else (
            self.context.low, self.context.high)
        stop = [size + h for size, h in zip(self.core_shape, high, strict=True)]
        return Box.between([-a for a in low], stop)

    def tile(self, more: int = 0) -> Box:
        """Return the smallest tile, extended by this many strides at either end."""
        f = self.footprint
        start = [-low - more * s for low, s in zip(f.low, f.stride, strict=True)]
        stop = [size + high + more * s for size, high, s in zip(self.core_shape, f.high, f.stride, strict=True)]
        return Box.between(start, stop)

    def image(self, tile: Box) -> torch.Tensor:
        """Return the part ``(1, c, *tile.shape)``, float64, of a random image that all tiles share."""
        whole = self.tile(more=2)
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randn(1, self.in_channels, *whole.shape, generator=generator, dtype=torch.float64)
        inside: Any = (..., *tile.back(whole.start).slices)
        return pixels[inside].clone()

    def core(self, image: torch.Tensor, tile: Box) -> torch.Tensor:
        """Return the network's output in the core when it sees ``image`` at ``tile``."""
        output = self.module(image)
        wanted = self.footprint.output(tile.shape)
        if tuple(output.shape[2:]) != wanted:
            raise ValueError(f"the output has shape {tuple(output.shape[2:])} where the footprint says {wanted}")
        origin = [a + shrink for a, shrink in zip(tile.start, self.footprint.shrink_low, strict=True)]
        return output[..., *Box.of_shape(self.core_shape).back(origin).slices]


def _context(bench: _Bench) -> ProofPart:
    """Check that the core stays finite with NaN everywhere outside the context, two strides wide."""
    tile = bench.tile(more=2)
    inside: Any = (..., *bench.needed.back(tile.start).slices)
    image = bench.image(tile)
    masked = torch.full_like(image, torch.nan)
    masked[inside] = image[inside]
    hit = int((~torch.isfinite(bench.core(masked, tile))).sum())
    return ProofPart("context", hit == 0, f"NaN outside {_sides(bench)} reaches {hit} "
                                          "values of the core")


def _control(bench: _Bench) -> ProofPart:
    """Check that NaN one voxel inside the context reaches the core from each side, so that the proof can fail."""
    missed = [f"{name} {'after' if after else 'before'}" for name, after, image in _spoilt(bench)
              if not torch.isnan(bench.core(image, bench.tile())).any()]
    where = "one voxel nearer" if bench.context else "inside the core"
    if missed:
        return ProofPart("control", False, f"NaN {where} does not arrive from {', '.join(missed)}: the context is "
                                           "wider than needed, or something stops NaN")
    return ProofPart("control", True, f"NaN {where} arrives from every side")


def _spoilt(bench: _Bench) -> Iterator[tuple[str, bool, torch.Tensor]]:
    """Yield images with NaN beyond one face, including the outermost voxel of the context."""
    tile = bench.tile()
    limits = bench.needed if bench.context is not None else Box.of_shape(bench.core_shape)
    names = AXES[-len(tile.shape):]
    for (axis, name), after in product(enumerate(names), (False, True)):
        image = bench.image(tile)
        span = limits.back(tile.start).spans[axis]
        beyond = slice(span.stop - 1, None) if after else slice(None, span.start + 1)
        image[(..., beyond, *[slice(None)] * (len(names) - axis - 1))] = torch.nan
        yield name, after, image


def _agreement(bench: _Bench, small: torch.Tensor, large: torch.Tensor) -> ProofPart:
    """Compare the same core from two tiles of different size and origin."""
    spread = float(large.std())
    if not spread > LEAST_SPREAD:
        return ProofPart("agreement", False, f"the output hardly varies (standard deviation {spread:.2g}, at "
                                             f"least {LEAST_SPREAD} is needed): nothing can be concluded")
    extent = float(max(small.max(), large.max()) - min(small.min(), large.min()))
    share = float((small - large).abs().max()) / extent
    return ProofPart("agreement", share <= TOLERANCE, f"tiles {_by(bench.tile().shape)} and "
                     f"{_by(bench.tile(more=1).shape)} differ by {share:.1e} of the range "
                     f"(standard deviation {spread:.2g})")


def _sides(bench: _Bench) -> str:
    high = [stop - size for stop, size in zip(bench.needed.stop, bench.core_shape, strict=True)]
    return f"{_by([-a for a in bench.needed.start])} before and {_by(high)} after"


def _by(values: Sequence[int]) -> str:
    return "x".join(map(str, values))
