"""Choose the tensors of a network that are kept whole between two stages.

The plan must store the inputs of norms and of reductions over the image, whose statistics have to be complete before
anything reads them; tensors that every part of another tensor needs whole, such as the keys and values of attention;
tensors computed from statistics only, which are small; and all tensors that an operator without a rule reads or makes.
Beyond these it follows one simple rule: store a tensor with two readers unless it is a pointwise function of a stored
one, and allow at most two consecutive convolutions per stage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product

from tiler.models.aten.graph import Graph, NotStagedError, Size
from tiler.models.aten.maps import Axes, Fixed, Range, Ranges
from tiler.models.aten.operators import Book

DEEPEST = 2
"""Largest number of consecutive convolutions in one stage; each widens the halo of those before it."""

OPAQUE_BYTES = 1 << 28
"""Largest tensor that an operator without a rule may read or make."""


@dataclass(frozen=True)
class Storage:
    """The tensors of a network that are stored between stages.

    Parameters
    ----------
    book
        The network's graph, with the rules of its nodes.
    """

    book: Book

    @property
    def graph(self) -> Graph:
        return self.book.graph

    @cached_property
    def image_axes(self) -> Sequence[frozenset[int]]:
        """By number of node: the axes of its tensor that correspond to axes of the image."""
        graph, found = self.graph, list[frozenset[int]]()
        for number, node in enumerate(graph.nodes):
            rule = self.book.rules[number]
            axes: set[int] = set(range(2, len(node.shape))) if number == 0 else set()
            for ref, source in zip(node.reads, rule.maps if rule else (), strict=False):
                alike = found[ref] if rule is not None and rule.opaque else source.carried(found[ref])
                axes |= {axis for axis in alike if axis < len(node.shape) and node.shape[axis] > 1}
            found.append(frozenset(axes))
        return found

    @cached_property
    def given(self) -> frozenset[int]:
        """Reductions over the whole image; their results are statistics of their inputs."""
        found = set()
        for number in self._varying:
            rule, node = self.book.rules[number], self.graph.nodes[number]
            if rule is not None and rule.reduces:
                source = rule.maps[0]
                assert isinstance(source, Axes)
                reduced = {axis for axis, each in enumerate(source.axes) if isinstance(each, Fixed)}
                own = self.image_axes[node.reads[0]]
                if own and own <= reduced:
                    found.add(number)
        return frozenset(found)

    @cached_property
    def statistics(self) -> dict[int, list[int]]:
        """By number of a tensor: the nodes that need a statistic of it."""
        found: dict[int, list[int]] = {}
        for number in self._varying:
            rule = self.book.rules[number]
            if rule is not None and rule.statistic is not None and (not rule.reduces or number in self.given):
                found.setdefault(self.graph.nodes[number].reads[0], []).append(number)
        return found

    def cut_along(self, number: int) -> frozenset[int]:
        """Image axes along which a tensor may be split into blocks; statistics need the other axes whole.

        Instance norm sees n slices of c channels as n * c channels, so the slices lie on its channel axis.
        """
        rules = (self.book.rules[reader] for reader in self.statistics.get(number, ()))
        axes: frozenset[int] = self.image_axes[number].difference(*(rule.whole for rule in rules if rule is not None))
        return axes

    @cached_property
    def forced(self) -> frozenset[int]:
        found = {self.graph.output, *self.statistics}
        for number in self._varying:
            node, rule = self.graph.nodes[number], self.book.rules[number]
            if rule is None or number in self.given:
                continue
            if rule.opaque:
                self._check_opaque(number)
                found |= {number, *node.reads}
            for ref, source in zip(node.reads, rule.maps, strict=True):
                axes = self.image_axes[ref]
                small = not axes and self.image_axes[number]
                if small or (axes and isinstance(source, Axes) and
                             all(isinstance(source.axes[axis], Fixed) for axis in axes)):
                    found.add(ref)
        return frozenset(number for number in found if self._is_made(number))

    @cached_property
    def stored(self) -> tuple[int, ...]:
        """Numbers of the stored tensors, in the order in which they are made; the output is the last of them."""
        found, depth = set(self.forced), dict[int, int]()
        for number in self._varying:
            if not self._is_made(number):
                depth[number] = 0
                continue
            rule, refs = self.book.rules[number], [ref for ref in self.graph.nodes[number].reads if ref in depth]
            heavy = bool(rule and rule.heavy)
            if heavy:
                deep = {ref for ref in refs if depth[ref] >= DEEPEST and ref not in found}
                found |= deep
                depth |= dict.fromkeys(deep, 0)
            own = max((depth[ref] for ref in refs if ref not in found), default=0) + heavy
            if own and self.image_axes[number] and len(self.graph.readers[number]) > 1:
                found.add(number)
            depth[number] = 0 if number in found else own
        return tuple(sorted(found))

    @cached_property
    def leaves(self) -> frozenset[int]:
        """All nodes that a stage may read from: stored, given and constant ones, and the input."""
        return frozenset({0, *self.stored}) | self.given | self.graph.constants

    @cached_property
    def reads(self) -> dict[int, frozenset[int]]:
        """The leaves that each stage may read, without constants."""
        return {target: self._reads(target) - self.graph.constants for target in self.stored}

    def _reads(self, target: int) -> frozenset[int]:
        found, waiting = set[int](), list(self.graph.nodes[target].reads)
        seen = set(waiting)
        while waiting:
            number = waiting.pop()
            if number in self.leaves:
                found.add(number)
                continue
            new = set(self.graph.nodes[number].reads) - seen
            seen |= new
            waiting += new
        return frozenset(found)

    @property
    def _varying(self) -> list[int]:
        return [number for number in self.graph.live if number not in self.graph.constants]

    def _is_made(self, number: int) -> bool:
        """Whether a stage computes the node."""
        return number != 0 and number not in self.graph.constants and number not in self.given and (
            self.graph.nodes[number].op != "full")

    def _check_opaque(self, number: int) -> None:
        node, rule = self.graph.nodes[number], self.book.rules[number]
        assert rule is not None
        most = max(math.prod(size) for size in (node.shape, *node.sizes)) * node.dtype.itemsize
        if most > OPAQUE_BYTES:
            raise NotStagedError(f"{node.layer}: {rule.opaque}, and whole tensors of {most >> 20} MiB are too large")


def blocks_of(extent: Ranges, axes: frozenset[int], voxels: int) -> list[Ranges]:
    """Cut a box along some of its axes into parts of at most ``voxels`` voxels, as equal in size as possible.

    ``(0:1, 0:8, 0:100, 0:60)`` along its last two axes, with 2000 voxels: 2 x 2 parts of 50 x 30, channels whole.
    """
    sizes: Size = tuple(high - low for low, high in extent)
    counts = [1] * len(sizes)

    def side(axis: int) -> int:
        return -(-sizes[axis] // counts[axis])

    while axes and math.prod(side(axis) for axis in axes) > voxels:
        longest = max(axes, key=side)
        if side(longest) == 1:
            break
        counts[longest] += 1
    parts = [_cut(span, count) for span, count in zip(extent, counts, strict=True)]
    return [tuple(box) for box in product(*parts)]


def _cut(span: Range, count: int) -> list[Range]:
    low, high = span
    bounds = [low + (high - low) * part // count for part in range(count + 1)]
    return list(pairwise(bounds))
