"""Processing before and after the network of a package, each step a small module.

Steps work voxel by voxel. Scaling by the statistics of the input, which does not, is `Measured`: the engine takes
those statistics in a first pass over the whole volume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_INTEGERS = {"uint8": (0, 2**8 - 1), "int8": (-(2**7), 2**7 - 1), "uint16": (0, 2**16 - 1),
             "int16": (-(2**15), 2**15 - 1), "uint32": (0, 2**32 - 1), "int32": (-(2**31), 2**31 - 1)}

Values = tuple[float, ...]
"""One number for all channels, or one per channel."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step by name, with plain arguments; see `KINDS`."""

    kind: str
    arguments: tuple[tuple[str, Any], ...] = ()

    def module(self) -> nn.Module:
        return KINDS[self.kind](**dict(self.arguments))

    def to_json(self) -> Mapping[str, Any]:
        return {"step": self.kind, **dict(self.arguments)}


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps before and after a network."""

    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()

    def around(self, network: nn.Module) -> nn.Module:
        """The network with its steps; the network itself if there are none."""
        return Surrounded(self, network) if self.before or self.after else network

    def to_json(self) -> Mapping[str, Any]:
        return {"before": [step.to_json() for step in self.before], "after": [step.to_json() for step in self.after]}


NO_STEPS = Steps()


@dataclass(frozen=True, slots=True)
class Measured:
    """Scaling by statistics of the input itself: ``(value - centre) / (spread + epsilon)``.

    Parameters
    ----------
    percentiles
        Two percentiles: the lower one is the centre, their difference the spread; None means mean and standard
        deviation.
    epsilon
        Added to the spread, in grey values of the source; one number, or one per channel.
    joint
        Whether all channels share common statistics.
    each_input
        Whether every network input has its own statistics; otherwise they are those of the whole volume.
    """

    percentiles: tuple[float, float] | None
    epsilon: Values
    joint: bool = False
    each_input: bool = True

    @property
    def rule(self) -> str:
        """The value of ``normalise`` for it."""
        return "volume" if self.percentiles is None else "volume:{:g},{:g}".format(*self.percentiles)

    def scaling(self, centre: Values, spread: Values) -> tuple[Values, Values]:
        """Offset and divisor of each channel, from the statistics of every channel."""
        if self.joint and len(centre) > 1:
            centre, spread = _joint(centre, spread)
        epsilon = self.epsilon * (len(spread) if len(self.epsilon) == 1 else 1)
        return centre, tuple(s + e for s, e in zip(spread, epsilon, strict=True))


def _joint(means: Values, deviations: Values) -> tuple[Values, Values]:
    """Joint mean and standard deviation of channels of equal size."""
    count = len(means)
    mean = sum(means) / count
    variance = sum(d * d + (m - mean) ** 2 for m, d in zip(means, deviations, strict=True)) / count
    return (mean,) * count, (variance**0.5,) * count


class Surrounded(nn.Module):
    """A network between its steps."""

    def __init__(self, steps: Steps, network: nn.Module) -> None:
        super().__init__()
        self.before = nn.Sequential(*(step.module() for step in steps.before))
        self.network = network
        self.after = nn.Sequential(*(step.module() for step in steps.after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.network(self.before(x)))


class _PerChannel(nn.Module):
    """A step with constants per channel, which move to the network's device."""

    def __init__(self, **constants: Sequence[float]) -> None:
        super().__init__()
        for name, values in constants.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))

    def of(self, name: str, x: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = getattr(self, name)
        return values.to(x.dtype).reshape(-1, *[1] * (x.ndim - 2))


class Linear(_PerChannel):
    """``x * gain + offset``."""

    def __init__(self, gain: Values, offset: Values) -> None:
        super().__init__(gain=gain, offset=offset)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.of("gain", x) + self.of("offset", x)


class Standard(_PerChannel):
    """``(x - mean) / std``."""

    def __init__(self, mean: Values, std: Values) -> None:
        super().__init__(mean=mean, std=std)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.of("mean", x)) / self.of("std", x)


class Binary(_PerChannel):
    """1 above a threshold, else 0."""

    def __init__(self, threshold: Values) -> None:
        super().__init__(threshold=threshold)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > self.of("threshold", x)).to(x.dtype)


class Clip(nn.Module):
    """Clip to two bounds, one of which may be missing."""

    def __init__(self, low: float | None, high: float | None) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(self.low, self.high)


class Whole(nn.Module):
    """Cast to an integer type: truncate towards zero and clip to the type's range."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.range = _INTEGERS[dtype]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(*self.range).trunc()


class Softmax(nn.Softmax):
    """Soft-max over the channels."""

    def __init__(self) -> None:
        super().__init__(dim=1)


KINDS: Mapping[str, Callable[..., nn.Module]] = {
    "linear": Linear, "standard": Standard, "binary": Binary, "clip": Clip, "whole": Whole,
    "sigmoid": nn.Sigmoid, "softmax": Softmax,
}
WHOLE_TYPES = tuple(_INTEGERS)
