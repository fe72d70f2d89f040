"""Matrix products and attention: rows follow the left factor, columns the right one; summed axes are needed whole."""

from __future__ import annotations

from tiler.models.aten.graph import Node
from tiler.models.aten.maps import Along, Axes, Fixed
from tiler.models.aten.rule import Part, Rule, broadcast, need, operator


def _left(size: tuple[int, ...]) -> Axes:
    rank = len(size)
    return Axes((*(Along(axis) for axis in range(rank - 1)), Fixed(0, size[-1])), size)


def _right(size: tuple[int, ...]) -> Axes:
    rank = len(size)
    return Axes((*(Along(axis) for axis in range(rank - 2)), Fixed(0, size[-2]), Along(rank - 1)), size)


@operator("mm bmm")
def product(node: Node) -> Rule:
    return Rule((_left(node.sizes[0]), _right(node.sizes[1])), Part.call, heavy=True)


@operator("addmm baddbmm")
def product_and_sum(node: Node) -> Rule:
    need(node.read_as("self") == 0, "it does not read the sum as a tensor")
    maps = (broadcast(node.sizes[0], node.shape), _left(node.sizes[1]), _right(node.sizes[2]))
    return Rule(maps, Part.call, heavy=True)


@operator("_scaled_dot_product_flash_attention_for_cpu")
def attention(node: Node) -> Rule:
    """Attention computes queries in parts and needs keys and values whole."""
    need(node.result in (None, 0) and len(node.sizes) == 3 and not node.args.get("is_causal", False),
         "attention with a mask")
    queries, keys, values = node.sizes
    lead = tuple(Along(axis) for axis in range(len(queries) - 2))
    maps = (Axes((*lead, Along(len(lead)), Fixed(0, queries[-1])), queries),
            Axes((*lead, Fixed(0, keys[-2]), Fixed(0, keys[-1])), keys),
            Axes((*lead, Fixed(0, values[-2]), Along(len(lead) + 1)), values))
    return Rule(maps, Part.call, whole=frozenset({len(lead) + 1}), heavy=True)
