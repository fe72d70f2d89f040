"""Three experiments in float64 that a footprint must pass, on the network itself with weights that vary.

On one axis, with a core of one stride at 0 (low and high unrounded in the first two)::

    context    NaN NaN [===low===|core|===high===] NaN NaN      the core stays finite
    control      NaN [==low-1====|core|===high===]              NaN arrives, one voxel nearer, each side in turn
    agreement        [===low===|core|===high===]                the core is the same from both tiles
             [stride|===low===|core|===high===|stride]
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import nn

from tiler.geometry import Box, Footprint
from tiler.models.probe.graph import Offence
from tiler.models.probe.report import AXES, Context, ProofPart
from tiler.models.probe.trace import quiet

TOLERANCE = 1e-10
"""Largest difference of two tiles, as a share of the output's range."""
LEAST_SPREAD = 0.01
"""Smallest standard deviation of an output that says anything."""

Run = Callable[[torch.Tensor], torch.Tensor]


def prove(
    module: nn.Module,
    footprint: Footprint,
    in_channels: int,
    context: Context | None = None,
    *,
    swallows: Sequence[Offence] = (),
    seed: int = 0,
) -> tuple[ProofPart, ...]:
    """Test a footprint on a float64 copy of the network with random weights, on the CPU.

    Parameters
    ----------
    module
        Module or ScriptModule; it is not changed.
    footprint
        Over the network's own axes, derived or declared.
    in_channels
        Channels of the input.
    context
        The same context unrounded; where it is given, NaN must stay out at this distance and arrive one voxel
        nearer. Without it the rounded context is tested, and NaN must arrive from inside the core.
    swallows
        Layers in which NaN may end, as the trace found them: the two experiments by NaN then prove nothing.
    seed
        Of the weights and the inputs.
    """
    bench = _Bench(_random_copy(module, seed), footprint, in_channels, context, seed)
    try:
        with torch.inference_mode(), quiet():
            if swallows:
                cannot = f"cannot prove: {swallows[0]}"
                by_nan = [ProofPart("context", False, cannot), ProofPart("control", False, cannot)]
            else:
                by_nan = [_context(bench), _control(bench)]
            return (*by_nan, _agreement(bench))
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        return (ProofPart("run", False, f"the network fails on a tile that the footprint admits: {reason}"),)


@dataclass(frozen=True, slots=True)
class _Bench:
    """Network, footprint and inputs of one proof; boxes have the first core's start as origin."""

    run: Run
    footprint: Footprint
    in_channels: int
    context: Context | None
    seed: int

    @property
    def needed(self) -> Box:
        """What the core is claimed to depend on."""
        low, high = (self.footprint.low, self.footprint.high) if self.context is None else (
            self.context.low, self.context.high)
        stop = [s + h for s, h in zip(self.footprint.stride, high, strict=True)]
        return Box.between([-a for a in low], stop)

    def tile(self, more: int = 0) -> Box:
        """The smallest tile, longer by so many strides at either end."""
        f = self.footprint
        start = [-low - more * s for low, s in zip(f.low, f.stride, strict=True)]
        return Box.between(start, [a + size + 2 * more * s for a, size, s in
                                   zip(start, f.smallest, f.stride, strict=True)])

    def image(self, tile: Box) -> torch.Tensor:
        """``(1, c, *tile.shape)`` float64: part of one random image which all tiles share."""
        whole = self.tile(more=2)
        generator = torch.Generator().manual_seed(self.seed)
        pixels = torch.randn(1, self.in_channels, *whole.shape, generator=generator, dtype=torch.float64)
        return pixels[(..., *tile.back(whole.start).slices)].clone()

    def core(self, image: torch.Tensor, tile: Box) -> torch.Tensor:
        """What the network says about the core when it sees ``image`` at ``tile``."""
        output = self.run(image)
        wanted = self.footprint.output(tile.shape)
        if tuple(output.shape[2:]) != wanted:
            raise ValueError(f"the output has shape {tuple(output.shape[2:])} where the footprint says {wanted}")
        origin = [a + shrink for a, shrink in zip(tile.start, self.footprint.shrink_low, strict=True)]
        return output[(..., *Box.of_shape(self.footprint.stride).back(origin).slices)]


def _context(bench: _Bench) -> ProofPart:
    """NaN everywhere outside the context, two strides wide: the core stays finite."""
    tile = bench.tile(more=2)
    inside = (..., *bench.needed.back(tile.start).slices)
    image = bench.image(tile)
    masked = torch.full_like(image, torch.nan)
    masked[inside] = image[inside]
    hit = int((~torch.isfinite(bench.core(masked, tile))).sum())
    return ProofPart("context", hit == 0, f"NaN outside {_sides(bench.needed, bench.footprint)} reaches {hit} "
                                          "values of the core")


def _control(bench: _Bench) -> ProofPart:
    """NaN one voxel inside the context, one side at a time: it arrives, so the proof can fail."""
    missed = [f"{name} {'after' if after else 'before'}" for name, after, image in _spoilt(bench)
              if not torch.isnan(bench.core(image, bench.tile())).any()]
    where = "one voxel nearer" if bench.context else "inside the core"
    return ProofPart("control", not missed, f"NaN {where} " + (
        f"does not arrive from {', '.join(missed)}: the context is too wide" if missed else "arrives from every side"))


def _spoilt(bench: _Bench) -> Iterator[tuple[str, bool, torch.Tensor]]:
    """Images with NaN beyond one face, the outermost voxel of the context included."""
    tile = bench.tile()
    limits = bench.needed if bench.context is not None else Box.of_shape(bench.footprint.stride)
    names = AXES[-len(tile.shape):]
    for (axis, name), after in product(enumerate(names), (False, True)):
        image = bench.image(tile)
        span = limits.back(tile.start).spans[axis]
        beyond = slice(span.stop - 1, None) if after else slice(None, span.start + 1)
        image[(..., beyond, *[slice(None)] * (len(names) - axis - 1))] = torch.nan
        yield name, after, image


def _agreement(bench: _Bench) -> ProofPart:
    """The same core from two tiles of different size and origin."""
    small, large = (bench.core(bench.image(tile), tile) for tile in (bench.tile(), bench.tile(more=1)))
    spread = float(large.std())
    extent = float(max(small.max(), large.max()) - min(small.min(), large.min()))
    difference = float((small - large).abs().max())
    if not spread > LEAST_SPREAD:
        return ProofPart("agreement", False, f"the output hardly varies (standard deviation {spread:.2g}, at least "
                                             f"{LEAST_SPREAD} is needed), so that nothing can be concluded")
    share = difference / extent
    return ProofPart("agreement", share <= TOLERANCE, f"tiles {_by(bench.tile())} and {_by(bench.tile(more=1))} "
                     f"differ by {share:.1e} of the range (standard deviation {spread:.2g})")


def _sides(needed: Box, footprint: Footprint) -> str:
    low, high = [-a for a in needed.start], [b - s for b, s in zip(needed.stop, footprint.stride, strict=True)]
    return f"{_by_numbers(low)} before and {_by_numbers(high)} after"


def _by(box: Box) -> str:
    return _by_numbers(box.shape)


def _by_numbers(values: Sequence[int]) -> str:
    return "x".join(map(str, values))


def _random_copy(module: nn.Module, seed: int) -> nn.Module:
    """A float64 copy in evaluation mode whose weights let everything through: He-normal, no zero layer.

    Buffers other than running statistics are the network's own. K. He et al.: Delving Deep into Rectifiers,
    doi:10.1109/ICCV.2015.123.
    """
    generator = torch.Generator().manual_seed(seed)
    with quiet():
        twin = copy.deepcopy(module).cpu().double().eval()
    with torch.no_grad():
        for name, weight in twin.named_parameters():
            weight.copy_(_drawn(name, weight, generator))
        for name, buffer in twin.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                noise = 0.1 * torch.randn(buffer.shape, generator=generator, dtype=torch.float64)
                buffer.copy_(1 + noise.abs() if name.endswith("running_var") else noise)
    return twin


def _drawn(name: str, weight: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    if weight.ndim < 2:
        return 0.1 * noise + (0 if name.endswith("bias") else 1)
    return noise * (2 / weight[0].numel()) ** 0.5
