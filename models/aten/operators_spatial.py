"""Convolutions and poolings: windows along the last axes. Padding is added only beyond the true tensor's borders."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from tiler.models.aten.graph import Node
from tiler.models.aten.maps import Along, Axes, Axis, Fixed, Range, Ranges, Spread, Step, Table, Window
from tiler.models.aten.onednn import convolve
from tiler.models.aten.rule import Part, Rule, all_of, cut, fitted, need, numbers, operator
from tiler.models.aten.statistics import reduction


def _moved(node: Node, steps: Sequence[Step], mixed: bool) -> Axes:
    """The map of the first input: one step for each of its last axes, and all channels if the operator mixes them."""
    shape = node.sizes[0]
    lead: list[Axis] = [Along(axis) for axis in range(len(shape) - len(steps))]
    if mixed:
        lead[-1] = Fixed(0, shape[len(lead) - 1])
    return Axes((*lead, *(Along(len(lead) + at, step) for at, step in enumerate(steps))), shape)


@operator("convolution")
def convolution(node: Node) -> Rule:
    need(node.read_as("input") == 0, "it does not read its input as a tensor")
    kernel = node.sizes[1][2:]
    count = len(kernel)
    options = [numbers(node.args[key], count) for key in ("stride", "padding", "dilation")]
    steps: list[Step] = [Spread(s, p, d, k) if node.args["transposed"] else Window(s, p, d * (k - 1))
                         for s, p, d, k in zip(*options, kernel, strict=True)]
    maps = (_moved(node, steps, mixed=True), *map(all_of, node.sizes[1:]))
    channels = frozenset({len(node.shape) - count - 1})
    return Rule(maps, _transposed if node.args["transposed"] else _convolution, whole=channels, heavy=True)


def _convolution(part: Part) -> torch.Tensor:
    args, count = part.node.args, len(part.node.sizes[1]) - 2
    x, padding = _windowed(part, count, 0.0)
    stride, dilation = (numbers(args[key], count) for key in ("stride", "dilation"))
    return convolve(x, _sure(part.named("weight")), part.named("bias"), stride, padding, dilation, args["groups"])


def _windowed(part: Part, count: int, value: float) -> tuple[torch.Tensor, list[int]]:
    """The input with its padding, or without it if the operator can add it itself."""
    have, want = _read(part), part.wanted()
    pads = [(own[0] - low, high - own[1]) for own, (low, high) in zip(have[-count:], want[-count:], strict=True)]
    if have[:-count] == want[:-count] and all(low == high >= 0 for low, high in pads):
        return part.first, [low for low, _ in pads]
    return fitted(part.first, have, want, value), [0] * count


def _transposed(part: Part) -> torch.Tensor:
    """Compute all outputs that the input reaches and cut the part out; outputs that no input reaches get the bias."""
    args, count, read = part.node.args, len(part.node.sizes[1]) - 2, _read(part)
    source, bias = part.rule.maps[0], part.named("bias")
    assert isinstance(source, Axes)
    reached: list[Range] = [axis.step.reached(*span) for axis, span in zip(source.axes, read, strict=True)
                            if isinstance(axis, Along) and isinstance(axis.step, Spread)]
    have = (*part.made[:-count], *reached)
    inside = all(low <= start and stop <= high for (low, high), (start, stop) in zip(have, part.made, strict=True))
    none = [0] * count
    made = torch.convolution(part.first, _sure(part.named("weight")), bias if inside else None,
                             numbers(args["stride"], count), none, numbers(args["dilation"], count), True, none,
                             args["groups"])
    if inside:
        return cut(made, have, part.made)
    made = fitted(made, have, part.made)
    return made if bias is None else made + bias.reshape(-1, *[1] * count)


def _sure(tensor: torch.Tensor | None) -> torch.Tensor:
    assert tensor is not None
    return tensor


def _read(part: Part) -> Ranges:
    read = part.reads[0]
    assert read is not None
    return read


@operator("max_pool2d_with_indices max_pool3d_with_indices")
def max_pool(node: Node) -> Rule:
    need(not node.result, "it gives the places of the maxima")
    return Rule((_moved(node, _pools(node), mixed=False),), _max_pool)


def _pools(node: Node) -> list[Step]:
    count = _axes_of(node)
    kernel = numbers(node.args["kernel_size"], count)
    options = (numbers(node.args.get("stride") or kernel, count), numbers(node.args.get("padding", 0), count),
               numbers(node.args.get("dilation", 1), count))
    return [Window(s, p, d * (k - 1)) for s, p, d, k in zip(*options, kernel, strict=True)]


def _axes_of(node: Node) -> int:
    return next(int(letter) for letter in node.op if letter.isdigit())


def _max_pool(part: Part) -> torch.Tensor:
    args, count = part.node.args, _axes_of(part.node)
    x = fitted(part.first, _read(part), part.wanted(), -math.inf)
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[count]
    result: torch.Tensor = pool(x, args["kernel_size"], args.get("stride") or None, 0, args.get("dilation", 1))
    return result


@operator("avg_pool2d avg_pool3d")
def avg_pool(node: Node) -> Rule:
    return Rule((_moved(node, _pools(node), mixed=False),), _avg_pool)


def _avg_pool(part: Part) -> torch.Tensor:
    """The sum of each window, divided by torch's divisor for it."""
    args, count = part.node.args, _axes_of(part.node)
    kernel = numbers(args["kernel_size"], count)
    x = fitted(part.first, _read(part), part.wanted())
    pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[count]
    means: torch.Tensor = pool(x, kernel, args.get("stride") or None)
    fixed = args.get("divisor_override")
    if fixed:
        return means * (math.prod(kernel) / fixed)
    for axis in range(count):
        at = means.ndim - count + axis
        share = kernel[axis] / _counted(part, axis, count)
        if (share != 1).any():
            shape = [-1 if place == at else 1 for place in range(means.ndim)]
            means = means * torch.from_numpy(share).to(means).reshape(shape)
    return means


def _counted(part: Part, axis: int, count: int) -> np.ndarray:
    """Number of elements of each window that count along one axis; elements beyond the padding never do."""
    node, step = part.node, _pools(part.node)[axis]
    assert isinstance(step, Window)
    size = node.sizes[0][len(node.shape) - count + axis]
    include = node.args.get("count_include_pad", True)
    start = np.arange(*part.made[len(node.shape) - count + axis]) * step.stride - step.before
    low, high = (start, size + step.before) if include else (start.clip(0), size)
    counted: np.ndarray = np.minimum(start + step.span + 1, high) - low
    return counted


@operator("_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d")
def adaptive_pool(node: Node) -> Rule:
    """Pool in bins whose borders follow from the size of the whole input."""
    need(not node.result, "it gives the places of the maxima")
    count = _axes_of(node)
    if all(out == 1 for out in node.shape[-count:]):
        return _pooled_whole(node, count)
    steps: list[Step] = []
    for size, out in zip(node.sizes[0][-count:], node.shape[-count:], strict=True):
        at = np.arange(out)
        steps.append(Table(at * size // out, -(-(at + 1) * size // out) - 1))
    return Rule((_moved(node, steps, mixed=False),), _bins)


def _pooled_whole(node: Node, count: int) -> Rule:
    """One bin: a statistic of the whole input."""
    size = node.sizes[0]
    kept = len(size) - count
    source = Axes((*(Along(axis) for axis in range(kept)), *(Fixed(0, length) for length in size[kept:])), size)
    how = "max" if "max" in node.op else "mean"
    return Rule((source,), Part.call, statistic=reduction(how, size, range(kept, len(size)), node.shape))


def _bins(part: Part) -> torch.Tensor:
    x, source, read = part.first, part.rule.maps[0], _read(part)
    assert isinstance(source, Axes)
    for at, axis in enumerate(source.axes):
        if isinstance(axis, Along) and isinstance(axis.step, Table):
            spans = [axis.step.back(out, out + 1) for out in range(*part.made[at])]
            x = torch.cat([_reduced(part.node, x.narrow(at, low - read[at][0], high - low), at)
                           for low, high in spans], at)
    return x


def _reduced(node: Node, x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.amax(axis, keepdim=True) if "max" in node.op else x.mean(axis, keepdim=True)
