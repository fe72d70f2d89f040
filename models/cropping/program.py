"""Compute a crop of a network's output from the smallest part of its input.

From the output backwards, each operator maps the wanted range of its output to the range of its input that it needs.
Forwards, each operator then works on that range only::

    whole    input  [.....................................]   zero padding at both faces, discarded at once
             output [.......|       crop       |..........]
    inside   input     [====|==================|====]         no padding, no border to discard
             skip         [=|==================|=]            cropped to what is joined with it
             output         |==================|
    at a face  input  [=====|==================|====]         where the padding is the network's own

A same-padded network thus runs as its valid equivalent, in its own phase, unless a face is within reach, and a network
that drops voxels computes nothing beyond the end of a block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import torch

from tiler.geometry import Box, Span
from tiler.models.cropping.graph import Graph, Node, NotCroppableError, Size
from tiler.models.cropping.rules import Call, Pads, Rule, rule_of
from tiler.models.probe.maps import Map, Resample, Spread, Whole

_FRESH = frozenset({"convolution", "cat", "native_batch_norm", "_native_batch_norm_legit_no_training"})
"""Operators whose result never shares memory with their input."""


class Wiring:
    """A graph with the rules and index maps of the nodes that lead to its output.

    Raises
    ------
    NotCroppableError
        An operator has no rule.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.live = graph, graph.live
        self.rules: dict[int, Rule] = {}
        self.maps: dict[int, tuple[Map, ...]] = {}
        self.readers: dict[int, list[int]] = {}
        for number in self.live:
            node = graph.nodes[number]
            self.rules[number] = rule_of(node)
            for ref in node.refs:
                self.maps[number] = self.rules[number].maps(node, graph.nodes[ref].size)
                self.readers.setdefault(ref, []).append(number)

    def ranges(self, axis: int, wanted: Span) -> dict[int, Span]:
        """Return the range of each tensor along one axis that a range of the output needs."""
        found = {self.graph.output: wanted}
        for number in reversed(self.live):
            for ref in self.graph.nodes[number].refs:
                span, _ = self.needed(number, ref, axis, found[number])
                if ref in found:
                    span = Span(min(span.start, found[ref].start), max(span.stop, found[ref].stop))
                found[ref] = span
        return found

    def needed(self, number: int, ref: int, axis: int, span: Span) -> tuple[Span, tuple[int, int]]:
        """Return the range of an input that a node needs, and how far the need reaches beyond either end."""
        own = self.maps[number][axis]
        if isinstance(own, Whole):
            raise NotCroppableError("a part of what it makes needs all of its input")
        needed = own.back(span.start, span.stop - 1)
        if needed is None:
            raise NotCroppableError("it needs no part of its input")
        low, high, length = needed[0], needed[1] + 1, self.graph.nodes[ref].size[axis]
        start = min(max(low, 0), length - 1)
        stop = max(min(high, length), start + 1)
        return Span(start, stop), (start - low, high - stop)

    @cached_property
    def paces(self) -> dict[int, list[Fraction]]:
        """Number of input voxels for one step of each tensor, along each axis."""
        found = {0: [Fraction(1)] * len(self.graph.nodes[0].size)}
        for number in self.live:
            parent = found[self.graph.nodes[number].refs[0]]
            found[number] = [pace * step.pace for pace, step in zip(parent, self.maps[number], strict=True)]
        return found

    def resized(self, size: Size) -> Wiring:
        """Return the wiring for another input size in the same phase; tensors grow in proportion to the input."""
        nodes = list(self.graph.nodes)
        more = [new - old for new, old in zip(size, nodes[0].size, strict=True)]
        for number, paces in self.paces.items():
            grown = [int(old + extra / pace) for old, extra, pace in zip(nodes[number].size, more, paces, strict=True)]
            nodes[number] = replace(nodes[number], shape=(*nodes[number].shape[:2], *grown))
        return Wiring(Graph(tuple(nodes), self.graph.output))


def total_flops(wiring: Wiring, crops: Sequence[Mapping[Span, int]]) -> float:
    """Return the operations for all crops that are products of ranges.

    The work of an operator is the product of its lengths along the axes, so lengths can be added up for each axis.

    Parameters
    ----------
    wiring
        Wiring of the network.
    crops
        For each axis the ranges of the output, and how often each occurs.
    """
    lengths = []
    for axis, counts in enumerate(crops):
        total: Counter[int] = Counter()
        for span, count in counts.items():
            for number, found in wiring.ranges(axis, span).items():
                total[number] += count * found.size
        lengths.append(total)
    flops = 0.0
    for number in wiring.live:
        node = wiring.graph.nodes[number]
        work = wiring.rules[number].flops(node)
        for total in lengths if work else ():
            work *= total[node.refs[0] if node.args.get("transposed") else number]
        flops += work
    return flops


Margins = tuple[tuple[int, int], ...]
"""Voxels to drop before and after, per axis."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operator on the ranges that it needs.

    Parameters
    ----------
    number, node, rule, maps
        The operator.
    reads
        Margins to drop from each tensor that it reads.
    pads
        Padding that it needs beyond these tensors.
    cut
        Margins to drop from its result.
    last
        Nodes whose tensors are not read afterwards.
    in_place
        Whether it may overwrite its input.
    """

    number: int
    node: Node
    rule: Rule
    maps: tuple[Map, ...]
    reads: Mapping[int, Margins]
    pads: Pads
    cut: Margins
    last: tuple[int, ...]
    in_place: bool

    @property
    def signature(self) -> tuple[object, ...]:
        """Properties that do not depend on the length of a crop."""
        return self.number, tuple(self.reads.items()), self.pads, self.cut


class Program:
    """Computes one box of a network's output: ``(n, c, *input.shape) -> (n, k, *crop.shape)``.

    Parameters
    ----------
    wiring
        Wiring of the network for one size of tile.
    crop
        Box of the output.

    Attributes
    ----------
    input
        Box of the tile that the program takes as input.
    signature
        Equal for crops that differ only in length, so that one program serves all of them.
    """

    def __init__(self, wiring: Wiring, crop: Box) -> None:
        self._wiring = wiring
        axes = [wiring.ranges(axis, span) for axis, span in enumerate(crop.spans)]
        self._ranges = {number: Box(tuple(axis[number] for axis in axes)) for number in axes[0]}
        self.steps = [self._step(number) for number in wiring.live]
        self.input = self._ranges[0]
        self.signature = tuple(step.signature for step in self.steps)

    def __call__(self, x: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        values = {0: x}
        for step in self.steps:
            tensors = {ref: _dropped(values[ref], margins) for ref, margins in step.reads.items()}
            for number in step.last:
                del values[number]
            made = step.rule.run(Call(step.node, tensors, weights, step.pads, step.maps, step.in_place))
            tensors.clear()
            values[step.number] = _dropped(made, step.cut)
            del made
        return values[self._wiring.graph.output]

    def _step(self, number: int) -> Step:
        wiring, wanted = self._wiring, self._ranges[number]
        node, maps = wiring.graph.nodes[number], wiring.maps[number]
        reads, pads = dict[int, Box](), tuple[tuple[int, int], ...]()
        for ref in node.refs:
            pairs = [wiring.needed(number, ref, axis, span) for axis, span in enumerate(wanted.spans)]
            reads[ref], pads = Box(tuple(span for span, _ in pairs)), tuple(pad for _, pad in pairs)
        made = [_made(*args) for args in zip(maps, reads[node.refs[0]].spans, wanted.spans, strict=True)]
        last = tuple(ref for ref in reads if wiring.readers[ref][-1] == number)
        alone = len(node.refs) == 1 and len(wiring.readers[node.refs[0]]) == 1
        in_place = alone and wiring.graph.nodes[node.refs[0]].op in _FRESH
        dropped = {ref: _margins(self._ranges[ref], box) for ref, box in reads.items()}
        return Step(number, node, wiring.rules[number], maps, dropped, pads, _margins(Box(tuple(made)), wanted), last,
                    in_place)


def shortened(wiring: Wiring, crop: Box) -> Program:
    """Return the program of the shortest crop and tile with the same distances to the faces and the same phase."""
    period = [int(max(pace[axis] for pace in wiring.paces.values())) for axis in range(len(crop.spans))]
    less = [(span.size - 1) // step * step for span, step in zip(crop.spans, period, strict=True)]
    size = tuple(full - by for full, by in zip(wiring.graph.nodes[0].size, less, strict=True))
    spans = (Span(span.start, span.stop - by) for span, by in zip(crop.spans, less, strict=True))
    return Program(wiring.resized(size), Box(tuple(spans)))


def _made(step: Map, read: Span, wanted: Span) -> Span:
    """Return the range of the output that a range of the input determines."""
    if isinstance(step, Spread):
        start = read.start * step.stride - step.before
        return Span(start, start + (read.size - 1) * step.stride + step.dilation * (step.taps - 1) + 1)
    if isinstance(step, Resample):
        return Span(int(read.start / step.pace), int(read.stop / step.pace))
    return wanted


def _margins(outer: Box, inner: Box) -> Margins:
    return tuple((b.start - a.start, a.stop - b.stop) for a, b in zip(outer.spans, inner.spans, strict=True))


def _dropped(tensor: torch.Tensor, margins: Margins) -> torch.Tensor:
    if any(map(any, margins)):
        tensor = tensor[(..., *(slice(before, -after or None) for before, after in margins))]
    return tensor
