"""Norms, reductions, and operators along one axis, such as the soft-max."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from tiler.models.aten.graph import Node
from tiler.models.aten.maps import Along, Axes, Axis, Fixed
from tiler.models.aten.rule import Part, Rule, all_of, broadcast, need, operator
from tiler.models.aten.statistics import Moments, Statistic, reduction


@operator("""
    native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_no_update
""")
def batch_norm(node: Node) -> Rule:
    """Normalise with the network's running statistics, or with those of the input, as instance norm does."""
    if node.args.get("training", False) or node.args.get("running_mean") is None:
        return _norm(node, Moments(None, node.args["eps"]))
    need(node.read_as("input") == 0, "it does not read its input as a tensor")
    maps = (broadcast(node.sizes[0], node.shape), *map(all_of, node.sizes[1:]))
    return Rule(maps, _fixed_norm, whole=frozenset({1}))


def _fixed_norm(part: Part) -> torch.Tensor:
    return F.batch_norm(part.first, part.named("running_mean"), part.named("running_var"), part.named("weight"),
                        part.named("bias"), training=False, eps=part.node.args["eps"])


@operator("native_group_norm")
def group_norm(node: Node) -> Rule:
    return _norm(node, Moments(node.args["group"], node.args["eps"]))


def _norm(node: Node, moments: Moments) -> Rule:
    need(node.result in (None, 0), "it gives the statistics themselves")
    need(node.shape[0] == 1 and len(node.shape) > 2, "it normalises several inputs at once")
    need(node.read_as("input") == 0, "it does not read its input as a tensor")
    maps = (broadcast(node.sizes[0], node.shape), *map(all_of, node.sizes[1:]))
    return Rule(maps, _normalised, whole=frozenset({1}), statistic=moments)


def _normalised(part: Part) -> torch.Tensor:
    """``x * a + b``, with ``a`` and ``b`` per channel."""
    mean, inverse = part.known
    weight, bias = (None if each is None else each.to("cpu", torch.float64)
                    for each in (part.named("weight"), part.named("bias")))
    scale = inverse if weight is None else inverse * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    shape = (1, -1, *[1] * (part.first.ndim - 2))
    a, b = (each.to(part.first.device, part.first.dtype).reshape(shape) for each in (scale, shift))
    return torch.addcmul(b, part.first, a)


@operator("native_layer_norm")
def layer_norm(node: Node) -> Rule:
    need(node.result in (None, 0), "it gives the statistics themselves")
    last = len(node.args["normalized_shape"])
    rank = len(node.shape)
    maps = (broadcast(node.sizes[0], node.shape), *map(all_of, node.sizes[1:]))
    return Rule(maps, _layer_norm, whole=frozenset(range(rank - last, rank)))


def _layer_norm(part: Part) -> torch.Tensor:
    args = part.node.args
    return F.layer_norm(part.first, list(args["normalized_shape"]), part.named("weight"), part.named("bias"),
                        args["eps"])


@operator("_softmax _log_softmax _safe_softmax cumsum cumprod logcumsumexp")
def along(node: Node) -> Rule:
    """Every element depends on the whole of one axis."""
    axis = node.args["dim"] % len(node.shape)
    return Rule((broadcast(node.sizes[0], node.shape),), Part.call, whole=frozenset({axis}))


_HOW = {"mean": "mean", "sum": "sum", "amax": "max", "max": "max", "amin": "min", "min": "min"}


@operator("""
    mean sum amax amin max min argmax argmin std var prod logsumexp norm linalg_vector_norm any all median
""")
def reduce(node: Node) -> Rule:
    if len(node.sizes) == 2:  # max(a, b)
        return Rule(tuple(broadcast(size, node.shape) for size in node.sizes), Part.call)
    size = node.sizes[0]
    axes = _reduced_axes(node, len(size))
    found: Statistic | None = None
    if node.op in _HOW and not node.result and node.dtype.is_floating_point:
        found = reduction(_HOW[node.op], size, axes, node.shape)
    return Rule((_kept(node, size, axes),), Part.call, statistic=found)


def _reduced_axes(node: Node, rank: int) -> list[int]:
    given = node.args.get("dim")
    dims = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    return sorted({dim % rank for dim in dims}) or list(range(rank))


def _kept(node: Node, size: Sequence[int], axes: Sequence[int]) -> Axes:
    """Reduced axes are needed whole; the others follow the output's axes."""
    found: list[Axis] = []
    place = 0
    for axis, length in enumerate(size):
        found.append(Fixed(0, length) if axis in axes else Along(place))
        place += axis not in axes or len(node.shape) == len(size)
    return Axes(tuple(found), tuple(size))
