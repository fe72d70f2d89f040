"""Run a network stage by stage: compute every stored tensor block by block, and its statistics on the way.

::

    image -> [conv] -> A (stored, moments) -> [norm relu conv] -> B (stored, moments) -> ... -> [norm conv] -> output
              blocks of A                      blocks of B, each read with a halo of 1          blocks of the output

The result equals one pass over the whole input. A box of the output needs the whole of every tensor up to the last
statistic, and after it only the box and its halo.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tiler.geometry import Box
from tiler.models.aten.graph import Graph, NotStagedError, Size
from tiler.models.aten.maps import Ranges, lengths, union, whole
from tiler.models.aten.operators import Book
from tiler.models.aten.program import Boxed, Program, program
from tiler.models.aten.record import record
from tiler.models.aten.rule import cut
from tiler.models.aten.statistics import Statistic
from tiler.models.aten.stored import Storage, blocks_of

BLOCK_VOXELS = 1 << 18
"""Voxels of one block: 64 cubed, or 512 squared."""


@dataclass
class StagedPlan:
    """The plan for inputs of one shape, the same for every network of one architecture.

    Parameters
    ----------
    graph
        The network, recorded at that shape.
    voxels
        Largest number of voxels of a block.
    """

    graph: Graph
    voxels: int = BLOCK_VOXELS
    _programs: dict[tuple[int, Ranges], Program] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.book = Book(self.graph)
        self.storage = Storage(self.book)
        _ = self.storage.stored  # refuses networks that cannot be run in stages

    @classmethod
    def of(cls, meta: nn.Module, shape: Size, voxels: int | None = None) -> StagedPlan:
        """Record a network and plan its stages.

        Parameters
        ----------
        meta
            The network on the meta device.
        shape
            Shape of the input, ``(1, c, [z], y, x)``.
        voxels
            Largest number of voxels of a block; None means `BLOCK_VOXELS`.

        Raises
        ------
        NotStagedError
            If the network cannot be run in stages; the message names the layer.
        """
        return cls(record(meta, shape), voxels or BLOCK_VOXELS)

    @property
    def shape(self) -> Size:
        """Shape of the output."""
        return self.graph.nodes[self.graph.output].shape

    def box(self, crop: Box) -> Ranges:
        """The box of the output, on all its axes, for a box of its image."""
        return (*whole(self.shape[:2]), *((span.start, span.stop) for span in crop.spans))

    @property
    def statistics(self) -> int:
        """Number of statistics of the whole input."""
        return sum(map(len, self.storage.statistics.values()))

    @property
    def stages(self) -> int:
        return len(self.storage.stored)

    def program(self, target: int, box: Ranges) -> Program:
        if (target, box) not in self._programs:
            self._programs[target, box] = program(self.book, target, self.storage.leaves, box)
        return self._programs[target, box]

    def blocks(self, target: int, extent: Ranges) -> list[Ranges]:
        return blocks_of(extent, self.storage.cut_along(target), self.voxels)

    def extents(self, box: Ranges) -> dict[int, Ranges]:
        """The box of each stored tensor that a box of the output needs; tensors that it does not need are left out."""
        needed: dict[int, Ranges] = {self.graph.output: box}
        for target in reversed(self.storage.stored):
            if target in self.storage.statistics:
                needed[target] = whole(self.graph.nodes[target].shape)
            if target not in needed:
                continue
            for leaf, wanted in self.program(target, needed[target]).needs.items():
                needed[leaf] = union(needed.get(leaf), wanted)
        return {target: needed[target] for target in self.storage.stored if target in needed}

    def last_readers(self, extents: Mapping[int, Ranges]) -> dict[int, list[int]]:
        """By number of a stage: the stored tensors that no later stage reads."""
        last: dict[int, int] = {}
        for target in extents:
            last |= dict.fromkeys(self.storage.reads[target], target)
        found: dict[int, list[int]] = {}
        for number, stage in last.items():
            found.setdefault(stage, []).append(number)
        return found

    def peak(self, box: Ranges) -> int:
        """Peak memory in bytes, without the input: stored tensors and the intermediates of one block."""
        extents = self.extents(box)
        last, held, worst = self.last_readers(extents), 0, 0
        for target, extent in extents.items():
            held += _bytes(self.graph, target, extent)
            biggest = max(self.blocks(target, extent), key=lengths)
            worst = max(worst, held + self._working(self.program(target, biggest)))
            held -= sum(_bytes(self.graph, number, extents[number]) for number in last.get(target, ())
                        if number in extents)
        return worst

    def _working(self, made: Program) -> int:
        """Peak memory in bytes of a block's intermediates; an operator may copy its inputs."""
        alive = worst = 0
        sizes: dict[int, int] = {}
        for step in made.steps:
            sizes[step.number] = _bytes(self.graph, step.number, step.made)
            alive += sizes[step.number]
            read = sum(_bytes(self.graph, ref, box) for ref, box in zip(step.node.reads, step.reads, strict=True)
                       if box is not None)
            worst = max(worst, alive + read)
            alive -= sum(sizes.get(number, 0) for number in step.last)
        return worst


def _bytes(graph: Graph, number: int, box: Ranges) -> int:
    count = graph.nodes[number].dtype.itemsize
    for low, high in box:
        count *= high - low
    return count


class StagedNetwork:
    """From the input ``(1, c, [z], y, x)`` to the network's output, or to a box of it.

    Parameters
    ----------
    plan
        The plan for inputs of that shape.
    module
        The network with its values, on the device where it runs.
    """

    def __init__(self, plan: StagedPlan, module: nn.Module) -> None:
        self.plan = plan
        named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        self._constants = dict(_constants(plan.graph, named))

    def __call__(self, x: torch.Tensor, box: Ranges | None = None) -> torch.Tensor:
        """The output, or a box of it, given as one range per axis."""
        wanted, output = whole(self.plan.shape) if box is None else box, self.plan.graph.output
        run = _Run(self.plan, {0: (x, whole(tuple(x.shape))), **self._constants}, {}, x.device)
        if output in run.values:
            return cut(*run.values[output], wanted)
        run.learn_input()
        extents = self.plan.extents(wanted)
        last = self.plan.last_readers(extents)
        for target, extent in extents.items():
            run.make(target, extent)
            for number in last.get(target, ()):
                run.values.pop(number, None)
        return run.values[output][0]


@dataclass
class _Run:
    """One pass over one input.

    Parameters
    ----------
    plan
        The stages to run.
    values
        Stored tensors, constants, and results of reductions, by number of node.
    known
        Statistics that norms need, by number of node.
    device
        Device of the input.
    """

    plan: StagedPlan
    values: dict[int, Boxed]
    known: dict[int, Any]
    device: torch.device

    def make(self, target: int, extent: Ranges) -> None:
        """Run one stage."""
        blocks = self.plan.blocks(target, extent)
        if len(blocks) == 1:
            self.values[target] = self.plan.program(target, extent)(self.values, self.known), extent
            self.learn(target, iter([self.values[target][0]]))
            return
        out = torch.empty(lengths(extent), dtype=self.plan.graph.nodes[target].dtype, device=self.device)
        self.learn(target, self._made(target, blocks, (out, extent)))
        self.values[target] = out, extent

    def _made(self, target: int, blocks: list[Ranges], out: Boxed) -> Iterator[torch.Tensor]:
        """Compute, write and then yield each block."""
        for block in blocks:
            made = self.plan.program(target, block)(self.values, self.known)
            cut(*out, block).copy_(made)
            yield made

    def learn(self, number: int, blocks: Iterator[torch.Tensor]) -> None:
        """Compute the statistics of a tensor from its blocks, in order."""
        wanted, totals = self.plan.storage.statistics.get(number, []), dict[int, Any]()
        for block in blocks:
            for reader in wanted:
                statistic = self._statistic(reader)
                part = statistic.of(block)
                totals[reader] = statistic.merged(totals[reader], part) if reader in totals else part
        for reader in wanted:
            node = self.plan.graph.nodes[reader]
            found = self._statistic(reader).found(totals[reader], node.dtype)
            if reader in self.plan.storage.given:
                self.values[reader] = found.to(self.device), whole(node.shape)
            else:
                self.known[reader] = found

    def learn_input(self) -> None:
        if 0 in self.plan.storage.statistics:
            x, extent = self.values[0]
            self.learn(0, (cut(x, extent, box) for box in self.plan.blocks(0, extent)))

    def _statistic(self, reader: int) -> Statistic:
        rule = self.plan.book.rules[reader]
        assert rule is not None
        assert rule.statistic is not None
        return rule.statistic


def _constants(graph: Graph, named: Mapping[str, torch.Tensor]) -> Iterator[tuple[int, Boxed]]:
    """Evaluate once the nodes that depend on weights and numbers only."""
    values: dict[int, torch.Tensor] = {}
    device = next((tensor.device for tensor in named.values()), torch.device("cpu"))
    for number in sorted(graph.constants):
        node = graph.nodes[number]
        if node.op == "weight":
            values[number] = named[node.args["name"]]
        elif node.op == "value":
            values[number] = graph.values[number]
        else:
            values[number] = node.call([values[ref] for ref in node.reads], device)
        yield number, (values[number], whole(tuple(values[number].shape)))


def staged(meta: nn.Module, module: nn.Module, shape: Size, voxels: int | None = None) -> StagedNetwork:
    """Plan and return a staged network for inputs of one shape; see `StagedPlan.of`."""
    return StagedNetwork(StagedPlan.of(meta, shape, voxels), module)


__all__ = ["BLOCK_VOXELS", "NotStagedError", "StagedNetwork", "StagedPlan", "staged"]
