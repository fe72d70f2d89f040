"""Prove a footprint on graphs: a core is made by the same steps from the same voxels, wherever its tile ends.

::

    tile          [==low==|core|==high==]
    larger  [.....[==low==|core|==high==]..........]     every step: boxes of equal lengths, moved by the same distance

No value is computed. That the maps of the operators are right for a network is shown by its self-check
(`tiler.models.aten.selfcheck`), in values.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from tiler.geometry import Footprint
from tiler.models.aten.graph import Graph, Node, NotStagedError, Size, is_ref
from tiler.models.aten.maps import Ranges, lengths
from tiler.models.aten.modules import quiet
from tiler.models.aten.operators import Book
from tiler.models.aten.program import Program, Step, program
from tiler.models.aten.record import record

LAYOUT = frozenset({"view", "_unsafe_view", "reshape", "expand", "slice", "split", "full", "repeat", "select"})
"""Operators whose arguments may follow the size of the input; their maps say all that they do."""


def check_tiles(meta: nn.Module, footprint: Footprint, in_channels: int, ndim: int) -> None:
    """Compare the steps that make a core in its smallest tile and in a larger one.

    Parameters
    ----------
    meta
        The network on the meta device.
    footprint
        Over (z, y, x), of a network that keeps the size of its input.
    in_channels, ndim
        Channels and spatial axes of its input.

    Raises
    ------
    NotStagedError
        If they differ, or cannot be compared; the message names the layer.
    """
    own = Footprint.of(footprint.axes[3 - ndim :])
    small = own.covering(own.stride)
    large = tuple(size + 3 * step for size, step in zip(small, own.stride, strict=True))
    with torch.inference_mode(False), torch.no_grad(), quiet():
        graphs = [record(meta, (1, in_channels, *size)) for size in (small, large)]
    starts = [own.low, tuple(low + step for low, step in zip(own.low, own.stride, strict=True))]
    made = [_core(graph, start, own.stride) for graph, start in zip(graphs, starts, strict=True)]
    _Comparison(graphs[0], graphs[1], (0, 0, *own.stride)).check(*made)


def _core(graph: Graph, start: Size, core: Size) -> Program:
    shape = graph.nodes[graph.output].shape
    box = ((0, 1), (0, shape[1]), *((low, low + size) for low, size in zip(start, core, strict=True)))
    return program(Book(graph), graph.output, graph.constants | {0}, box)


class _Comparison:
    """How far each tensor of one graph has moved in another one."""

    def __init__(self, small: Graph, large: Graph, moved: Size) -> None:
        self.small, self.large = small, large
        self.moved: dict[int, Size] = {0: moved}

    def check(self, one: Program, other: Program) -> None:
        if [step.number for step in one.steps] != [step.number for step in other.steps]:
            raise NotStagedError("it runs other operators on a larger input")
        for step, larger in zip(one.steps, other.steps, strict=True):
            self._check_step(step, larger)

    def _check_step(self, one: Step, other: Step) -> None:
        node = one.node
        if one.rule.statistic is not None:
            raise _refused(node, "it needs a statistic of its whole input")
        if node.op != other.node.op or not _alike(node, other.node):
            raise _refused(node, "its arguments depend on the size of its input")
        self.moved[one.number] = self._distance(node, one.made, other.made)
        for ref, here, there in zip(node.reads, one.reads, other.reads, strict=True):
            if here is not None and there is not None:
                self._check_read(node, ref, here, there)
        if node.op.startswith(("upsample", "_upsample")):
            self._check_scale(one, other)

    def _check_read(self, node: Node, ref: int, here: Ranges, there: Ranges) -> None:
        distance = self._distance(node, here, there)
        if ref in self.small.constants:
            if any(distance) or self.small.nodes[ref].shape != self.large.nodes[ref].shape:
                raise _refused(node, "it reads values that depend on the position in its input")
        elif distance != self.moved[ref]:
            raise _refused(node, "it reads voxels that depend on the size of its input")

    @staticmethod
    def _distance(node: Node, here: Ranges, there: Ranges) -> Size:
        if lengths(here) != lengths(there):
            raise _refused(node, "it needs more than the tile")
        return tuple(b - a for (a, _), (b, _) in zip(here, there, strict=True))

    def _check_scale(self, one: Step, other: Step) -> None:
        """Places between voxels stay the same only if the factor does, and the distances fit it."""
        node, ref = one.node, one.node.reads[0]
        for axis in range(2, len(node.shape)):
            ratios = [Fraction(step.node.sizes[0][axis], step.node.shape[axis]) for step in (one, other)]
            fits = self.moved[one.number][axis] * ratios[0] == self.moved[ref][axis]
            corners = node.args.get("align_corners") and ratios[0] != 1
            if ratios[0] != ratios[1] or not fits or corners:
                raise _refused(node, "where it samples depends on the size of its input")


def _alike(one: Node, other: Node) -> bool:
    """Whether two calls have the same arguments, as far as these do not follow from the size of the input."""
    if one.op in LAYOUT:
        return True
    return _settings(one) == _settings(other)


def _settings(node: Node) -> Sequence[Any]:
    scaled = {"output_size"} if node.op.startswith(("upsample", "_upsample")) else set()
    kept = {name: value for name, value in node.args.items() if name not in scaled}
    return [leaf for leaf in tree_leaves(kept, is_leaf=is_ref) if not is_ref(leaf)]


def _refused(node: Node, why: str) -> NotStagedError:
    return NotStagedError(f"{node.layer}: {why}")
