"""Operations of a network in stages, and of one plain pass: products only, a multiply-add counts as two."""

from __future__ import annotations

import math

from tiler.models.aten.graph import Node
from tiler.models.aten.maps import Ranges, lengths, whole
from tiler.models.aten.staged import StagedPlan

_PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}
"""Matrix products, with the place of the first factor among the tensors that they read."""


def work_of(plan: StagedPlan) -> float:
    """Operations of the whole output in stages over those of one plain pass; at least 1.

    Every block of a stage is taken to cost as much as the one in its middle, which has all of its halo.
    """
    graph = plan.graph
    plain = sum(_operations(graph.nodes[number]) for number in graph.live if number not in graph.constants)
    staged = sum(_stage(plan, target, extent) for target, extent in plan.extents(whole(plan.shape)).items())
    return max(1.0, staged / plain) if plain else 1.0


def _stage(plan: StagedPlan, target: int, extent: Ranges) -> float:
    blocks = plan.blocks(target, extent)
    block = blocks[len(blocks) // 2]  # without a voxel in a tensor that has none
    steps = plan.program(target, block).steps
    # Some steps make nothing: the part of a window that lies beyond the input has no voxel.
    made = [step for step in steps if math.prod(step.node.shape)]
    done = sum(_operations(step.node) * _voxels(step.made) / math.prod(step.node.shape) for step in made)
    return done * _voxels(extent) / max(1, _voxels(block))


def _voxels(box: Ranges) -> int:
    return math.prod(lengths(box))


def _operations(node: Node) -> float:
    if node.op == "convolution":
        weight, seen = node.sizes[1], node.sizes[0] if node.args["transposed"] else node.shape
        return 2.0 * math.prod(seen) * math.prod(weight[1:])
    if node.op in _PRODUCTS:
        return 2.0 * math.prod(node.shape) * node.sizes[_PRODUCTS[node.op]][-1]
    if "scaled_dot_product" in node.op:
        return 4.0 * math.prod(node.sizes[0]) * node.sizes[1][-2]
    return 0.0
