"""Operators that work element by element."""

from __future__ import annotations

import torch

from tiler.models.aten.graph import Node
from tiler.models.aten.rule import Part, Rule, broadcast, operator


@operator("""
    abs acos add addcdiv addcmul asin atan atan2 ceil celu clamp clamp_max clamp_min clone cos cosh div elu erf exp
    expm1 floor floor_divide fmod gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu lerp lift_fresh_copy log
    log10 log1p log2 log_sigmoid_forward logit maximum minimum mish mul nan_to_num neg _prelu_kernel pow reciprocal
    relu remainder round rsqrt rsub sgn sigmoid sign silu sin sinh softplus softshrink sqrt sub tan tanh threshold
    trunc _to_copy where masked_fill xlogy eq ne lt le gt ge isnan isinf logical_and logical_or logical_not
    logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor
""")
def pointwise(node: Node) -> Rule:
    return Rule(tuple(broadcast(size, node.shape) for size in node.sizes), Part.call)


@operator("copy")
def copy(node: Node) -> Rule:
    """Copy the source over the target, whose previous values are not needed."""
    source = node.read_as("src")
    maps = [broadcast(size, node.shape) for size in node.sizes]
    return Rule(tuple(maps), lambda part: _copied(part, source))


def _copied(part: Part, source: int | None) -> torch.Tensor:
    assert source is not None
    values = part.tensors[source]
    assert values is not None
    return values.to(part.node.dtype).expand(part.shape)


@operator("full")
def full(node: Node) -> Rule:
    """A tensor filled with one number."""
    value = node.args["fill_value"]
    return Rule((), lambda part: torch.full(part.shape, value, dtype=node.dtype, device=part.device))


@operator("expand")
def expand(node: Node) -> Rule:
    return Rule((broadcast(node.sizes[0], node.shape),), lambda part: part.first.expand(part.shape))
