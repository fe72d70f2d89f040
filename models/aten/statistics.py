"""Statistics of a whole tensor, computed from its blocks, for norms and global layers.

Blocks are merged in order, in float64, so that the result has the same bits wherever the blocks were computed.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from tiler.models.aten.graph import Size


class Statistic(Protocol):
    """A statistic of a whole tensor that an operator needs."""

    @property
    def is_result(self) -> bool:
        """Whether the statistic is the operator's result."""
        ...

    def of(self, block: torch.Tensor) -> Any:
        """Compute the statistic of one block."""
        ...

    def merged(self, one: Any, other: Any) -> Any:
        """Merge the statistics of two parts; their order affects the last bits."""
        ...

    def found(self, total: Any, dtype: torch.dtype) -> Any:
        """Return the operator's values from the merged statistic of all blocks."""
        ...


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance of channels or groups of them.

    Each block gives its count, its mean and the sum of squared distances from its mean, which merge without
    cancellation (Chan, Golub and LeVeque 1979): ``m2 = m2_a + m2_b + d * d * a * b / (a + b)``, where ``d`` is the
    difference of the means.

    Parameters
    ----------
    groups
        Number of groups, whose channels are merged at the end; None keeps every channel.
    eps
        Added to the variance.
    """

    groups: int | None
    eps: float

    @property
    def is_result(self) -> bool:
        return False

    def of(self, block: torch.Tensor) -> tuple[int, torch.Tensor, torch.Tensor]:
        axes = [0, *range(2, block.ndim)]
        variance, mean = torch.var_mean(_full(block), axes, correction=0)
        count = block.numel() // block.shape[1]
        return count, _wide(mean), _wide(variance) * count

    def merged(self, one: Any, other: Any) -> tuple[int, torch.Tensor, torch.Tensor]:
        (a, mean_a, m2_a), (b, mean_b, m2_b) = one, other
        distance, total = mean_b - mean_a, a + b
        return total, mean_a + distance * (b / total), m2_a + m2_b + distance**2 * (a * b / total)

    def found(self, total: Any, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and reciprocal standard deviation of every channel, in float64."""
        count, mean, m2 = total
        variance = m2 / count
        if self.groups is not None:
            means, variances = mean.reshape(self.groups, -1), variance.reshape(self.groups, -1)
            middle = means.mean(1, keepdim=True)
            joint = (variances + (means - middle) ** 2).mean(1, keepdim=True)
            mean, variance = (each.expand_as(means).reshape(-1) for each in (middle, joint))
        return mean, (variance + self.eps).rsqrt()


_MERGES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mean": torch.add, "sum": torch.add, "max": torch.maximum, "min": torch.minimum}


@dataclass(frozen=True, slots=True)
class Reduction:
    """A mean, sum, maximum or minimum over some axes.

    Parameters
    ----------
    how
        "mean", "sum", "max" or "min".
    axes
        The axes to reduce.
    count
        Number of elements of the whole tensor per element of the result.
    shape
        Shape of the result.
    """

    how: str
    axes: tuple[int, ...]
    count: int
    shape: Size

    @property
    def is_result(self) -> bool:
        return True

    def of(self, block: torch.Tensor) -> torch.Tensor:
        if self.how in ("mean", "sum"):
            on_cpu = block.device.type == "cpu"
            return _wide(_full(block).sum(self.axes, dtype=torch.float64 if on_cpu else None))
        return _wide(block.amax(self.axes) if self.how == "max" else block.amin(self.axes))

    def merged(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return _MERGES[self.how](one, other)

    def found(self, total: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return (total / self.count if self.how == "mean" else total).to(dtype).reshape(self.shape)


def _full(block: torch.Tensor) -> torch.Tensor:
    """In float32 at least: squares of 256 and sums of 2^16 ones are infinite in float16."""
    return block.float() if block.dtype in (torch.float16, torch.bfloat16) else block


def _wide(values: torch.Tensor) -> torch.Tensor:
    return values.to("cpu", torch.float64)


def reduction(how: str, shape: Size, axes: Sequence[int], out: Size) -> Reduction:
    """The reduction of a tensor over some axes."""
    return Reduction(how, tuple(axes), math.prod(shape[axis] for axis in axes), out)


def packed(part: Any) -> Any:
    """A statistic of a block as JSON: tensors of float64 become their shape and their bytes in base64."""
    if isinstance(part, (tuple, list)):
        return [packed(each) for each in part]
    if isinstance(part, torch.Tensor):
        return {"shape": list(part.shape), "bytes": base64.b64encode(part.contiguous().numpy().tobytes()).decode()}
    return part


def unpacked(content: Any) -> Any:
    """The statistic that `packed` returned."""
    if isinstance(content, list):
        return tuple(map(unpacked, content))
    if isinstance(content, Mapping):
        values = torch.frombuffer(bytearray(base64.b64decode(content["bytes"])), dtype=torch.float64)
        return values.reshape(content["shape"])
    return content
