"""Plan the stages of a network: which tensors are stored, their blocks, and what each block reads.

::

    image -> [conv] -> A (stored, moments) -> [norm relu conv] -> B (stored, moments) -> ... -> [norm conv] -> output
              blocks of A                      blocks of B, each read with a halo of 1          blocks of the output

The result equals one pass over the whole input. A box of the output needs the whole of every tensor up to the last
statistic, and after it only the box and its halo.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from tiler.geometry import Box
from tiler.models.aten.graph import Graph, Size
from tiler.models.aten.maps import Ranges, lengths, union, whole
from tiler.models.aten.operators import Book
from tiler.models.aten.program import Program, program
from tiler.models.aten.record import record
from tiler.models.aten.statistics import Statistic
from tiler.models.aten.stored import Storage, blocks_of

BLOCK_VOXELS = 1 << 18
"""Voxels of one block: 64 cubed, or 512 squared."""
KEPT_PROGRAMS = 1 << 12
"""Largest number of programs kept at a time: some 10 kB each."""


@dataclass(eq=False)
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

    def statistics_of(self, number: int) -> list[tuple[int, Statistic]]:
        """The statistics of a tensor that operators need, each with the number of its operator."""
        found = []
        for reader in self.storage.statistics.get(number, []):
            rule = self.book.rules[reader]
            assert rule is not None
            assert rule.statistic is not None
            found.append((reader, rule.statistic))
        return found

    @property
    def stages(self) -> int:
        return len(self.storage.stored)

    def program(self, target: int, box: Ranges) -> Program:
        """The program of a box; the latest ones are kept."""
        found = self._programs.get((target, box))
        if found is None:
            found = program(self.book, target, self.storage.leaves, box)
            if len(self._programs) >= KEPT_PROGRAMS:
                self._programs.clear()
            self._programs[target, box] = found
        return found

    def blocks(self, target: int, extent: Ranges) -> list[Ranges]:
        """The blocks of a box of a tensor; neither they nor what they read of one tensor have many more voxels.

        Behind a stride of 2 in three axes a block of 32 cubed reads 65 cubed.
        """
        return blocks_of(extent, self.storage.cut_along(target), max(1, self.voxels // self._reduction(target)))

    def _reduction(self, target: int) -> int:
        """How many times larger the image is in a tensor that a stage reads than in the one that it makes."""
        own = self._image_voxels(target)
        return max([1, *(self._image_voxels(leaf) // own for leaf in self.storage.reads.get(target, ()))])

    def _image_voxels(self, number: int) -> int:
        return math.prod(self.graph.nodes[number].shape[axis] for axis in self.storage.image_axes[number])

    def extents(self, box: Ranges, known: bool = False) -> dict[int, Ranges]:
        """The box of each stored tensor that a box of the output needs; tensors that it does not need are left out.

        Parameters
        ----------
        box
            A box of the output.
        known
            Whether statistics of whole tensors are known already, so that no tensor is needed whole for them.
        """
        needed: dict[int, Ranges] = {self.graph.output: box}
        for target in reversed(self.storage.stored):
            if target in self.storage.statistics and not known:
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
            held += bytes_of(self.graph, target, extent)
            biggest = max(self.blocks(target, extent), key=lengths)
            worst = max(worst, held + self.working(self.program(target, biggest)))
            held -= sum(bytes_of(self.graph, number, extents[number]) for number in last.get(target, ())
                        if number in extents)
        return worst

    def working(self, made: Program) -> int:
        """Peak memory in bytes of a block's intermediates; an operator may copy its inputs."""
        alive = worst = 0
        sizes: dict[int, int] = {}
        for step in made.steps:
            sizes[step.number] = bytes_of(self.graph, step.number, step.made)
            alive += sizes[step.number]
            read = sum(bytes_of(self.graph, ref, box) for ref, box in zip(step.node.reads, step.reads, strict=True)
                       if box is not None)
            worst = max(worst, alive + read)
            alive -= sum(sizes.get(number, 0) for number in step.last)
        return worst


def bytes_of(graph: Graph, number: int, box: Ranges) -> int:
    """Bytes of a box of a node's tensor."""
    count = graph.nodes[number].dtype.itemsize
    for low, high in box:
        count *= high - low
    return count
