"""Rules that compute a part of an operator's output from a part of its input, one for each family of operators.

The index maps are those of the probe. A range may reach beyond the tensor; there the rule pads, exactly where the whole
network would pad.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_map

from tiler.models.cropping.graph import Node, NotCroppableError, Ref, Size, Weight
from tiler.models.probe.maps import SAME, Map, Resample, Spread, Window

Pads = tuple[tuple[int, int], ...]
"""Voxels to add before and after, per axis; negative ones are dropped."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operator with its tensors.

    Parameters
    ----------
    node
        Operator and arguments.
    tensors
        Tensors that it reads, by number of their node.
    weights
        Parameters and buffers of the network, by name.
    pads
        Voxels beyond the tensors that it needs.
    maps
        Index maps of the rule.
    in_place
        Whether the input may be overwritten.
    """

    node: Node
    tensors: dict[int, torch.Tensor]
    weights: Mapping[str, torch.Tensor]
    pads: Pads
    maps: tuple[Map, ...]
    in_place: bool

    def args(self) -> dict[str, Any]:
        """Return the arguments by name with their tensors, to which this call then holds no reference."""
        found: dict[str, Any] = tree_map(self._tensor, self.node.args,
                                         is_leaf=lambda leaf: isinstance(leaf, (Ref, Weight)))
        self.tensors.clear()
        return found

    def _tensor(self, leaf: Any) -> Any:
        if isinstance(leaf, Ref):
            return self.tensors[leaf.node]
        return self.weights[leaf.name] if isinstance(leaf, Weight) else leaf

    @property
    def even_pads(self) -> list[int] | None:
        """Padding in the form that operators take, or None if the sides differ."""
        return [low for low, _ in self.pads] if all(low == high >= 0 for low, high in self.pads) else None

    def padded(self, x: torch.Tensor, value: float = 0.0) -> torch.Tensor:
        flat = [side for pair in reversed(self.pads) for side in pair]  # torch counts from the last axis
        return F.pad(x, flat, value=value) if any(flat) else x


Maps = Callable[[Node, Size], tuple[Map, ...]]
Run = Callable[[Call], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Rule:
    """How to compute parts of one operator.

    Parameters
    ----------
    maps
        Returns an index map for each axis from a node and the size of its input.
    run
        Computes the part. Transposed convolutions and interpolations return all outputs of their input; the caller
        cuts out the part.
    flops
        Returns the operations for one voxel of the output, or of the input of a transposed convolution.
    """

    maps: Maps
    run: Run
    flops: Callable[[Node], float] = lambda node: 0.0


RULES: dict[str, Rule] = {}


def rule_of(node: Node) -> Rule:
    """Return the rule of a node's operator.

    Raises
    ------
    NotCroppableError
        The operator has no rule.
    """
    if node.op not in RULES:
        raise NotCroppableError(f"{node.op} has no rule")
    return RULES[node.op]


def _register(names: str, maps: Maps, run: Run, flops: Callable[[Node], float] | None = None) -> None:
    made = Rule(maps, run) if flops is None else Rule(maps, run, flops)
    RULES.update(dict.fromkeys(names.split(), made))


def _numbers(value: Any, count: int) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * count if len(values) == 1 else values


def _need(holds: bool, why: str) -> None:
    if not holds:
        raise NotCroppableError(why)


# Element-wise operators, and others that leave the axes of the image alone.


def _same(node: Node, size: Size) -> tuple[Map, ...]:
    for leaf in node.args.values():
        varies = isinstance(leaf, Weight) and leaf.shape[-len(size):] != (1,) * min(len(size), len(leaf.shape))
        _need(not varies, f"{node.op} takes weights that lie on the image")
    return _unmoved(node, size)


def _unmoved(node: Node, size: Size) -> tuple[Map, ...]:
    _need(node.size == size, f"{node.op} changes the size")
    return (SAME,) * len(size)


def _again(call: Call) -> torch.Tensor:
    func = call.node.func
    if func._schema.is_mutable and not call.in_place:
        func = getattr(getattr(torch.ops.aten, call.node.op), func._overloadname)
    result: torch.Tensor = func(**_as_declared(func, call.args()))
    return result


def _as_declared(func: Any, args: dict[str, Any]) -> dict[str, Any]:
    known = {argument.name for argument in func._schema.arguments}
    return {name: value for name, value in args.items() if name in known}


_register("""
    abs add addcdiv addcmul alias atan celu clamp clamp_max clamp_min clone cos detach div elu erf exp expm1 floor gelu
    hardshrink hardsigmoid hardswish hardtanh leaky_relu log log10 log1p log2 maximum minimum mish mul neg pow
    reciprocal relu relu6 round rsqrt rsub selu sigmoid silu sin softplus softshrink sqrt square sub tanh threshold
    _to_copy
""", _same, _again)


def _along_channels(node: Node, size: Size) -> tuple[Map, ...]:
    rank = len(node.shape)
    _need(node.args.get("dim", 0) % rank == 1, f"{node.op} runs along an axis of the image")
    return _same(node, size)


_register("_softmax _log_softmax cat", _along_channels, _again)

_BATCH_NORMS = "native_batch_norm _native_batch_norm_legit_no_training _batch_norm_no_update"


def _fixed_statistics(node: Node, size: Size) -> tuple[Map, ...]:
    _need(not node.args.get("training", False) and isinstance(node.args.get("running_mean"), Weight),
          "it normalises by the statistics of its input")
    return _unmoved(node, size)


def _batch_norm(call: Call) -> torch.Tensor:
    args = call.args()
    return F.batch_norm(args["input"], args["running_mean"], args["running_var"], args["weight"], args["bias"],
                        training=False, eps=args["eps"])


_register(_BATCH_NORMS, _fixed_statistics, _batch_norm)


# Windows: convolutions, poolings, padding, crops.


def _convolution_maps(node: Node, size: Size) -> tuple[Map, ...]:
    weight = node.args["weight"]
    _need(isinstance(weight, Weight), "its weights come from the input")
    count = len(size)
    kernel = weight.shape[2:]
    options = zip(*(_numbers(node.args[key], count) for key in ("stride", "padding", "dilation")), kernel, strict=True)
    if not node.args["transposed"]:
        return tuple(Window(s, p, d * (k - 1)) for s, p, d, k in options)
    _need(not any(_numbers(node.args["output_padding"], count)), "it pads its output")
    return tuple(Spread(s, p, d, k) for s, p, d, k in options)


def _convolution(call: Call) -> torch.Tensor:
    args = call.args()
    x = args.pop("input")
    none = [0] * len(call.pads)
    padding = none if args["transposed"] else call.even_pads  # a transposed one's crop follows afterwards
    if padding is None:
        x, padding = call.padded(x), none
    return torch.convolution(x, args["weight"], args["bias"], args["stride"], padding, args["dilation"],
                             args["transposed"], none, args["groups"])


def _convolution_flops(node: Node) -> float:
    weight = node.args["weight"].shape
    channels = weight[0] if node.args["transposed"] else node.shape[1]
    return 2.0 * channels * weight[1] * math.prod(weight[2:])


_register("convolution", _convolution_maps, _convolution, _convolution_flops)


def _pooling_maps(node: Node, size: Size) -> tuple[Map, ...]:
    count, args = len(size), node.args
    averages = node.op.startswith("avg")
    _need(not averages or (args.get("count_include_pad", True) and not args.get("ceil_mode", False)
                           and args.get("divisor_override") is None), "its windows are not all divided alike")
    kernel = _numbers(args["kernel_size"], count)
    options = zip(_numbers(args.get("stride") or kernel, count), _numbers(args.get("padding", 0), count),
                  _numbers(args.get("dilation", 1), count), kernel, strict=True)
    return tuple(Window(s, p, d * (k - 1)) for s, p, d, k in options)


def _pooling(call: Call) -> torch.Tensor:
    args = call.args()
    averages = call.node.op.startswith("avg")
    x, padding = args.pop("self"), call.even_pads
    if padding is None:
        x, padding = call.padded(x, 0.0 if averages else -math.inf), [0] * len(call.pads)
    pools = {1: (F.max_pool1d, F.avg_pool1d), 2: (F.max_pool2d, F.avg_pool2d), 3: (F.max_pool3d, F.avg_pool3d)}
    pool: Any = pools[len(call.pads)][averages]
    dilation = {} if averages else {"dilation": args.get("dilation", 1)}
    result: torch.Tensor = pool(x, args["kernel_size"], args.get("stride") or None, padding, **dilation)
    return result


_register("max_pool2d_with_indices max_pool3d_with_indices avg_pool2d avg_pool3d", _pooling_maps, _pooling)


def _padding_maps(node: Node, size: Size) -> tuple[Map, ...]:
    pads = list(node.args["pad"])
    _need(not any(pads[2 * len(size):]), "it pads other axes than the image's")
    before = [*pads[0:2 * len(size):2], *[0] * (len(size) - len(pads) // 2)]
    return tuple(Window(1, int(p)) for p in reversed(before))


_register("constant_pad_nd", _padding_maps,
          lambda call: call.padded(call.tensors.popitem()[1], float(call.node.args.get("value") or 0)))


def _slice_maps(node: Node, size: Size) -> tuple[Map, ...]:
    axis = node.args.get("dim", 0) % len(node.shape) - 2
    if axis < 0:
        return _same(node, size)
    _need(node.args.get("step", 1) == 1, "it leaves out voxels")
    start = node.args.get("start") or 0
    start = max(0, start + size[axis] if start < 0 else start)
    return tuple(Window(1, -start) if at == axis else SAME for at in range(len(size)))


def _slice(call: Call) -> torch.Tensor:
    return _again(call) if call.node.args.get("dim", 0) % len(call.node.shape) < 2 else call.tensors.popitem()[1]


_register("slice", _slice_maps, _slice)


# Interpolation by whole factors.

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def _is_linear(node: Node) -> bool:
    return "linear" in node.op


def _interpolation_maps(node: Node, size: Size) -> tuple[Map, ...]:
    _need(not node.args.get("align_corners", False), "where it samples depends on the size of its input")
    _need(all(out % own == 0 for out, own in zip(node.size, size, strict=True)), "it enlarges by a fraction")
    factors = [out // own for out, own in zip(node.size, size, strict=True)]
    if not _is_linear(node):
        return tuple(Resample(Fraction(1, f)) for f in factors)
    return tuple(Resample(Fraction(1, f), Fraction(1, 2 * f) - Fraction(1, 2), 0, 1) for f in factors)


def _interpolation(call: Call) -> torch.Tensor:
    args = call.args()
    x = args["input"] if "input" in args else args["self"]
    factors = [float(1 / step.pace) for step in call.maps]
    return F.interpolate(x, scale_factor=factors, mode=_LINEAR[len(factors)] if _is_linear(call.node) else "nearest")


_register("upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d "
          "upsample_trilinear3d", _interpolation_maps, _interpolation)
