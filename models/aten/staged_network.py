"""Run a network stage by stage: compute every stored tensor block by block, and its statistics on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import nn

from tiler.models.aten.graph import Graph, Size
from tiler.models.aten.maps import Ranges, lengths, whole
from tiler.models.aten.program import Boxed
from tiler.models.aten.rule import cut
from tiler.models.aten.staged import StagedPlan

After = Callable[[torch.Tensor], torch.Tensor]


def unchanged(block: torch.Tensor) -> torch.Tensor:
    return block


@dataclass(frozen=True, slots=True)
class Learned:
    """Statistics of whole tensors.

    Parameters
    ----------
    known
        Statistics that norms need, by number of the norm's node.
    given
        Results of reductions, by number of node.
    """

    known: Mapping[int, Any] = field(default_factory=dict)
    given: Mapping[int, Boxed] = field(default_factory=dict)

    def __or__(self, other: Learned) -> Learned:
        return Learned({**self.known, **other.known}, {**self.given, **other.given})


def parts_of(plan: StagedPlan, number: int, block: torch.Tensor) -> list[Any]:
    """The statistics of one block of a tensor, in the order of `StagedPlan.statistics_of`."""
    return [statistic.of(block) for _, statistic in plan.statistics_of(number)]


def learned_from(plan: StagedPlan, number: int, parts: Iterable[Iterable[Any]], device: torch.device) -> Learned:
    """The statistics of a whole tensor, from those of its blocks in order."""
    wanted = plan.statistics_of(number)

    def merged(one: Iterable[Any], other: Iterable[Any]) -> list[Any]:
        return [statistic.merged(a, b) for (_, statistic), a, b in zip(wanted, one, other, strict=True)]

    known, given = dict[int, Any](), dict[int, Boxed]()
    for (reader, statistic), total in zip(wanted, reduce(merged, parts) if wanted else (), strict=True):
        node = plan.graph.nodes[reader]
        found = statistic.found(total, node.dtype)
        if reader in plan.storage.given:
            given[reader] = found.to(device), whole(node.shape)
        else:
            known[reader] = found
    return Learned(known, given)


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
        self.device = next((tensor.device for tensor in named.values()), torch.device("cpu"))
        self._constants = dict(_constants(plan.graph, named, self.device))

    def __call__(self, x: torch.Tensor, box: Ranges | None = None, after: After = unchanged) -> torch.Tensor:
        """The output, or a box of it.

        Parameters
        ----------
        x
            The input, contiguous.
        box
            One range per axis; None for the whole output.
        after
            Function of every block of the output, of the same size.
        """
        plan, wanted = self.plan, whole(self.plan.shape) if box is None else box
        values: dict[int, Boxed] = {0: (x, whole(tuple(x.shape)))}
        output = plan.graph.output
        if output in values or output in self._constants:
            return after(cut(*{**self._constants, **values}[output], wanted))
        parts = (parts_of(plan, 0, cut(*values[0], block).contiguous()) for block in plan.blocks(0, values[0][1]))
        learned = learned_from(plan, 0, parts, self.device)
        extents = plan.extents(wanted)
        last = plan.last_readers(extents)
        for target, extent in extents.items():
            then = after if target == output else unchanged
            values[target], found = self._stage(target, extent, values, learned, then)
            learned |= found
            for number in last.get(target, ()):
                values.pop(number, None)
        return values[output][0]

    def made(self, target: int, block: Ranges, leaves: Mapping[int, Boxed], learned: Learned) -> torch.Tensor:
        """One block of a stored tensor.

        Parameters
        ----------
        target, block
            Number of its node, and the block.
        leaves
            Stored tensors and the input, at least the boxes of them that the block needs.
        learned
            Statistics of the tensors before it.
        """
        return self.plan.program(target, block)({**self._constants, **learned.given, **leaves}, learned.known)

    def _stage(self, target: int, extent: Ranges, leaves: Mapping[int, Boxed], learned: Learned, after: After
               ) -> tuple[Boxed, Learned]:
        """A stored tensor with its statistics, which are those before ``after``."""
        parts, out = list[list[Any]](), torch.empty(0)
        for block in self.plan.blocks(target, extent):
            made = self.made(target, block, leaves, learned)
            parts.append(parts_of(self.plan, target, made))
            made = after(made)
            if block == extent:
                out = made.contiguous()  # laid out as a tensor of several blocks is
                break
            out = out if parts[1:] else torch.empty(lengths(extent), dtype=made.dtype, device=made.device)
            cut(out, extent, block).copy_(made)
        return (out, extent), learned_from(self.plan, target, parts, self.device)


def _constants(graph: Graph, named: Mapping[str, torch.Tensor], device: torch.device) -> Iterator[tuple[int, Boxed]]:
    """Evaluate once the nodes that depend on weights and numbers only."""
    values: dict[int, torch.Tensor] = {}
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
