"""The one table of operators: from the name of an aten operator to its rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tiler.models.aten import (  # noqa: F401 - they enter their operators into the table
    operators_layout,
    operators_norm,
    operators_pointwise,
    operators_products,
    operators_resize,
    operators_spatial,
)
from tiler.models.aten.graph import Graph, Node
from tiler.models.aten.rule import RULES, NoRuleError, Part, Rule, all_of


def rule_of(node: Node) -> Rule:
    """The rule of a call; operators without an entry are computed on whole tensors."""
    if node.op not in RULES:
        return _opaque(node, "no part of it can be made alone")
    try:
        return RULES[node.op](node)
    except NoRuleError as reason:
        return _opaque(node, str(reason))


def _opaque(node: Node, why: str) -> Rule:
    maps = tuple(map(all_of, node.sizes))
    return Rule(maps, Part.call, whole=frozenset(range(len(node.shape))), heavy=True, opaque=f"{node.op}: {why}")


@dataclass(frozen=True)
class Book:
    """A graph with the rule of each of its nodes."""

    graph: Graph

    @cached_property
    def rules(self) -> Sequence[Rule | None]:
        """Rules by number of node; None for the input, weights, values and nodes that do not lead to the output."""
        live = set(self.graph.live)
        return [rule_of(node) if number in live and node.func is not None else None
                for number, node in enumerate(self.graph.nodes)]
