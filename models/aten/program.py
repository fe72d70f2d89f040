"""Compute a box of one tensor from boxes of others: trace back what it needs, then compute exactly that.

::

    leaves                    target
    A ---- conv ---- relu ---- B         wanted of B:   8:16
    0:32   7:17      8:16                needed of A:   6:18 (two convolutions of 3 would be 6:18, one is 7:17)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tiler.models.aten.graph import Node
from tiler.models.aten.maps import Ranges, union
from tiler.models.aten.operators import Book
from tiler.models.aten.rule import Part, Rule, cut

Boxed = tuple[torch.Tensor, Ranges]
"""A part of a tensor, and its box within the tensor."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operator with the box that it makes and the boxes that it reads."""

    number: int
    node: Node
    rule: Rule
    made: Ranges
    reads: tuple[Ranges | None, ...]
    last: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """The steps that compute one box of a tensor.

    Parameters
    ----------
    target, box
        Number of the node, and the box of its tensor to compute.
    steps
        Operators, in the order in which they run.
    needs
        The box of every leaf that the steps read.
    """

    target: int
    box: Ranges
    steps: Sequence[Step]
    needs: Mapping[int, Ranges]

    def __call__(self, leaves: Mapping[int, Boxed], known: Mapping[int, Any]) -> torch.Tensor:
        """Compute the values of the box.

        Parameters
        ----------
        leaves
            Tensors by number of node; each contains at least the box in `needs`.
        known
            Statistics by number of the node that uses them.
        """
        values = {number: leaves[number] for number in self.needs}
        device = next((tensor.device for tensor, _ in values.values()), torch.device("cpu"))
        for step in self.steps:
            tensors = [None if box is None else cut(*values[ref], box)
                       for ref, box in zip(step.node.reads, step.reads, strict=True)]
            for number in step.last:
                del values[number]
            part = Part(step.node, step.rule, step.made, step.reads, tensors, known.get(step.number), device)
            values[step.number] = step.rule.run(part), step.made
        return cut(*values[self.target], self.box)


def program(book: Book, target: int, leaves: Collection[int], box: Ranges) -> Program:
    """Plan the computation of one box of a node's tensor from some leaves.

    Parameters
    ----------
    book
        The network.
    target
        Number of the node; it may be a leaf of other programs.
    leaves
        Nodes whose values will be available.
    box
        The box to compute.
    """
    need: dict[int, Ranges] = {target: box}
    found: list[tuple[int, Ranges, tuple[Ranges | None, ...]]] = []
    for number in range(target, -1, -1):
        if number not in need or (number in leaves and number != target):
            continue
        node, rule = book.graph.nodes[number], book.rules[number]
        if rule is None:  # a weight, or the input
            continue
        made = rule.widened(need.pop(number), node.shape)
        reads = tuple(source.back(made) for source in rule.maps)
        for ref, wanted in zip(node.reads, reads, strict=True):
            if wanted is not None:
                need[ref] = union(need.get(ref), wanted)
        found.append((number, made, reads))
    return Program(target, box, _steps(book, found[::-1], target), need)


def _steps(
    book: Book, made: Sequence[tuple[int, Ranges, tuple[Ranges | None, ...]]], target: int
) -> list[Step]:
    """The steps, each with the tensors that no later step reads."""
    seen, steps = {target}, list[Step]()
    for number, box, reads in reversed(made):
        node, rule = book.graph.nodes[number], book.rules[number]
        assert rule is not None
        used = {ref for ref, wanted in zip(node.reads, reads, strict=True) if wanted is not None}
        steps.append(Step(number, node, rule, box, reads, tuple(used - seen)))
        seen |= used
    return steps[::-1]
