"""A forward pass as a list of operators: values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

Size = tuple[int, ...]


class NotStagedError(Exception):
    """A network that cannot be run in parts; the message names the layer and says why."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Placeholder for the tensor that another node made."""

    node: int


@dataclass(frozen=True, slots=True)
class Node:
    """One tensor, and the call of an aten operator that makes it.

    Parameters
    ----------
    op
        Name of the operator without namespace, overload and the underscore of its in-place form; "input", "weight"
        and "value" for tensors that no operator makes.
    func
        The overload to call, always the out-of-place one.
    args
        Arguments by name, with a `Ref` in place of each tensor.
    shape, dtype
        Shape and dtype of the tensor.
    sizes
        Shapes of the tensors that the call reads, in the order of `reads`.
    layer
        The layer of the network that made the call.
    result
        Index among the results of an operator that returns several; None if it returns one.
    """

    op: str
    func: Any
    args: Mapping[str, Any]
    shape: Size
    dtype: torch.dtype
    sizes: tuple[Size, ...] = ()
    layer: str = ""
    result: int | None = None

    @property
    def reads(self) -> list[int]:
        """Numbers of the nodes that the call reads, one entry per place in the arguments."""
        return [leaf.node for leaf in tree_leaves(self.args, is_leaf=is_ref) if isinstance(leaf, Ref)]

    def read_as(self, name: str) -> int | None:
        """Index in `reads` of the tensor passed as the named argument; None if none was passed."""
        places = iter(range(len(self.sizes)))
        found = {key: [next(places) for leaf in tree_leaves(value, is_leaf=is_ref) if isinstance(leaf, Ref)]
                 for key, value in self.args.items()}
        return found[name][0] if found.get(name) else None

    def call(self, tensors: Sequence[torch.Tensor], device: torch.device | None = None, **changed: Any) -> torch.Tensor:
        """Call the operator on these tensors, with some of its arguments changed."""
        args = {**self.filled(tensors, device), **changed}
        made = self.func(**args)
        result: torch.Tensor = made if self.result is None else made[self.result]
        return result

    def filled(self, tensors: Sequence[torch.Tensor], device: torch.device | None = None) -> dict[str, Any]:
        """The arguments, each `Ref` replaced by its tensor; tensors come in the order of `reads`."""
        given = iter(tensors)

        def value(leaf: Any) -> Any:
            if isinstance(leaf, Ref):
                return next(given)
            return device if device is not None and isinstance(leaf, torch.device) else leaf

        filled: dict[str, Any] = tree_map(value, dict(self.args), is_leaf=is_ref)
        return filled


def is_ref(leaf: Any) -> bool:
    return isinstance(leaf, Ref)


@dataclass(frozen=True)
class Graph:
    """All nodes in the order in which they were made; node 0 is the input.

    Parameters
    ----------
    nodes
        All nodes, including those that do not lead to the output.
    output
        Number of the node that the network returns.
    """

    nodes: Sequence[Node]
    output: int
    values: Mapping[int, torch.Tensor] = field(default_factory=dict, repr=False)

    @cached_property
    def live(self) -> list[int]:
        """The nodes that lead to the output, in order."""
        needed = {self.output}
        for number in range(self.output, -1, -1):
            if number in needed:
                needed.update(self.nodes[number].reads)
        return sorted(needed)

    @cached_property
    def constants(self) -> frozenset[int]:
        """Live nodes that depend on weights and numbers only; uniform tensors are made in parts like any other."""
        varies = {0}
        for number in self.live:
            node = self.nodes[number]
            if node.op == "full" or not varies.isdisjoint(node.reads):
                varies.add(number)
        return frozenset(self.live) - varies

    @cached_property
    def readers(self) -> dict[int, list[int]]:
        """The live nodes that read a live node."""
        found: dict[int, list[int]] = {number: [] for number in self.live}
        for number in self.live:
            for ref in dict.fromkeys(self.nodes[number].reads):
                found[ref].append(number)
        return found
