"""The stages of a network with every stored tensor outside memory, in all orientations of an average.

::

    orientation 0    tensor, tensor, ..., output: head, turned back             = sum
    orientation 1    tensor, tensor, ..., output: head, turned back, plus sum   = sum
    the last one     ...                                  divided by their number = values
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tiler.geometry import Box, Shape
from tiler.models.aten import staged
from tiler.models.aten.maps import Ranges, whole
from tiler.models.aten.program import Boxed
from tiler.models.aten.staged import StagedPlan, bytes_of
from tiler.models.aten.staged_network import Learned, StagedNetwork, learned_from, parts_of
from tiler.models.aten.statistics import packed, unpacked
from tiler.models.inference.cost import overhead
from tiler.models.inference.network import Session
from tiler.models.predictor.averaging import Turn, Turns
from tiler.models.predictor.stage_outline import StageOutline
from tiler.ports import Array, Given, Json, Load, Needs, StoredTensor

if TYPE_CHECKING:
    from tiler.models.predictor.torch_predictor import TorchPredictor

SAMPLED = 3
"""Blocks of a tensor whose memory is looked at: the first, the middle and the last one."""


@dataclass(frozen=True, slots=True)
class StoredStages:
    """`tiler.ports.Staged` of a predictor."""

    predictor: TorchPredictor
    outline: StageOutline

    @property
    def voxels(self) -> int:
        return staged.BLOCK_VOXELS

    def of(self, shape: Shape, part: Box, voxels: int, known: bool = False) -> TorchStaging | None:
        staging = TorchStaging(self.predictor, self.outline, shape, part, voxels, known)
        return staging if staging.makes_output else None


@dataclass(frozen=True, slots=True)
class _Place:
    """A stage among those of all orientations.

    Parameters
    ----------
    turn
        Number of the orientation.
    target
        Number of the node that it makes; 0 if only statistics of the input are taken.
    blocks
        Boxes of the node's tensor.
    """

    turn: int
    target: int
    blocks: Sequence[Ranges]


class TorchStaging:
    """`tiler.ports.Staging`: see `StoredStages.of` for the parameters."""

    def __init__(self, predictor: TorchPredictor, outline: StageOutline, shape: Shape, part: Box,
                 voxels: int, known: bool) -> None:
        self.predictor, self.outline, self.shape, self.part, self.voxels = predictor, outline, shape, part, voxels
        self.known = known

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.predictor, self.outline, self.shape, self.part, self.voxels, self.known)

    @property
    def makes_output(self) -> bool:
        plan = self._plan(self._turns[0])
        return plan.graph.output in plan.storage.stored

    @cached_property
    def tensors(self) -> Sequence[StoredTensor]:
        return [self._tensor(number) for number in range(len(self._places))]

    def needs(self, number: int, block: int) -> Needs:
        place = self._places[number]
        plan = self._plan_of(place)
        if place.target == 0:
            return Needs(self._of_image(place.blocks[block][-self._ndim :], place), {})
        found = plan.program(place.target, place.blocks[block]).needs
        tensors = {self._numbers[place.turn, leaf]: _box(box) for leaf, box in found.items()
                   if (place.turn, leaf) in self._numbers and leaf != 0}
        if self._adds(place):
            tensors[self._sum_before(place)] = self._turned_back(place.blocks[block], place)
        return Needs(self._of_image(found[0][-self._ndim :], place) if 0 in found else None, tensors)

    def compute(self, number: int, block: int, given: Given, found: Mapping[int, Any]) -> tuple[Array, Json]:
        place = self._places[number]
        with self.predictor.network.session() as session:
            leaves = self._leaves(session, number, block, given)
            made, parts = self._made(session, place, block, leaves, found)
            made = self._finished(session, made, place, given) if self._is_output(place) else made
            values = session.download(_as_numbers(made.contiguous()))
        return values, {"parts": [packed(part) for part in parts]}

    def merged(self, number: int, parts: Sequence[Json]) -> tuple[int, Learned]:
        """The orientation, and statistics of the tensor in it."""
        place = self._places[number]
        every = [[unpacked(part) for part in each["parts"]] for each in parts]
        return place.turn, learned_from(self._plan_of(place), place.target, every, torch.device("cpu"))

    def written(self, values: Array) -> Array:
        made = self.predictor.written(torch.from_numpy(np.ascontiguousarray(values))).numpy()[0]
        return made if self._ndim == 3 else made[:, None]

    def _made(self, session: Session, place: _Place, block: int, leaves: Mapping[int, Boxed],
              found: Mapping[int, Any]) -> tuple[torch.Tensor, list[Any]]:
        """A block before the head, and its statistics."""
        plan = self._plan_of(place)
        if place.target == 0:
            image = leaves[0][0].contiguous()
            return image, parts_of(plan, 0, image)
        network = session.staging.stages(plan)
        made = network.made(place.target, place.blocks[block], leaves, self._learned(place, found, network))
        return made, parts_of(plan, place.target, made)

    def _leaves(self, session: Session, number: int, block: int, given: Given) -> dict[int, Boxed]:
        """The tensors that a block is computed from, by number of node."""
        place, needs = self._places[number], self.needs(number, block)
        plan, leaves = self._plan_of(place), dict[int, Boxed]()
        for leaf, array in given.tensors.items():
            if self._places[leaf].turn == place.turn:  # not the sum of the orientations before
                target = self._places[leaf].target
                values = _as_tensor(session.upload(array), plan.graph.nodes[target].dtype)
                leaves[target] = values, _ranges(needs.tensors[leaf])
        if given.image is not None and needs.image is not None:
            leaves[0] = self._image(session, given.image, needs.image, place)
        return leaves

    def _image(self, session: Session, image: Array, box: Box, place: _Place) -> Boxed:
        """A part of the input as the network sees it in an orientation."""
        turn = self._turns[place.turn]
        flat = self._ndim == 2
        x = self.predictor.prepared(session, (image[:, 0] if flat else image)[None])
        x = session.staging.staged_input(turn.apply(x))
        turned = turn.part(box, self.shape)
        ranges = (*whole(tuple(x.shape[:2])), *_ranges(turned)[3 - self._ndim :])
        return _as_in_memory(x, [low == 0 and high == size for (low, high), size in
                                 zip(ranges, self._plan_of(place).graph.nodes[0].shape, strict=True)]), ranges

    def _learned(self, place: _Place, found: Mapping[int, Any], network: StagedNetwork) -> Learned:
        learned = reduce(or_, [each for turn, each in found.values() if turn == place.turn], Learned())
        given = {number: (values.to(network.device), box) for number, (values, box) in learned.given.items()}
        return Learned(learned.known, given)

    def _finished(self, session: Session, scores: torch.Tensor, place: _Place, given: Given) -> torch.Tensor:
        """Values of a block of the output, added to those of the orientations before."""
        values = self._turns[place.turn].undo(self.predictor.head(scores))
        if self._adds(place):
            values = session.upload(given.tensors[self._sum_before(place)]).add(values)
        return values.div_(len(self._turns)) if self._adds(place) and self._is_last(place) else values

    @property
    def _ndim(self) -> int:
        return self.predictor.model.ndim

    @property
    def _turns(self) -> Sequence[Turn]:
        orientations = self.predictor.orientations
        assert isinstance(orientations, Turns), "a resampled slice is made as a whole"
        return orientations.turns

    def _plan(self, turn: Turn) -> StagedPlan:
        z, y, x = self.shape
        size = (z, x, y) if turn.transpose else (z, y, x)
        return self.outline.plan((1, self.predictor.in_channels, *size[3 - self._ndim :]), self.voxels)

    def _plan_of(self, place: _Place) -> StagedPlan:
        return self._plan(self._turns[place.turn])

    @cached_property
    def _places(self) -> list[_Place]:
        return [place for number in range(len(self._turns)) for place in self._of_turn(number)]

    def _of_turn(self, number: int) -> list[_Place]:
        """The stages of one orientation."""
        turn = self._turns[number]
        plan = self._plan(turn)
        extents = plan.extents(plan.box(Box(turn.part(self.part, self.shape).spans[3 - self._ndim :])), self.known)
        if plan.storage.statistics.get(0) and not self.known:
            extents = {0: whole(plan.graph.nodes[0].shape), **extents}
        return [_Place(number, target, plan.blocks(target, extent)) for target, extent in extents.items()]

    @cached_property
    def _numbers(self) -> dict[tuple[int, int], int]:
        """Number of a stage by orientation and node."""
        return {(place.turn, place.target): number for number, place in enumerate(self._places)}

    def _is_output(self, place: _Place) -> bool:
        return place.target == self._plan_of(place).graph.output

    def _is_last(self, place: _Place) -> bool:
        return place.turn == len(self._turns) - 1

    def _adds(self, place: _Place) -> bool:
        """Whether its blocks are added to values of the orientations before."""
        return place.turn > 0 and self._is_output(place)

    def _sum_before(self, place: _Place) -> int:
        return self._numbers[place.turn - 1, self._plan(self._turns[place.turn - 1]).graph.output]

    def _of_image(self, ranges: Ranges, place: _Place) -> Box:
        """The box of the input that a box of the turned one comes from."""
        return self._turns[place.turn].origin(_box((*whole((1,) * (3 - self._ndim)), *ranges)), self.shape)

    def _turned_back(self, ranges: Ranges, place: _Place) -> Box:
        """The box of the output's values for a box of the scores in an orientation."""
        image = self._of_image(ranges[-self._ndim :], place)
        return Box((*_box(ranges[:2]).spans, *image.spans[3 - self._ndim :]))

    def _tensor(self, number: int) -> StoredTensor:
        place = self._places[number]
        plan, output = self._plan_of(place), self._is_output(place)
        node = plan.graph.nodes[place.target]
        reads = {self._numbers[place.turn, leaf] for leaf in plan.storage.reads.get(place.target, ())
                 if (place.turn, leaf) in self._numbers and leaf != 0}
        if self._adds(place):
            reads.add(self._sum_before(place))
        dtype = self.predictor.network.exact_type if output else node.dtype
        boxes = [self._turned_back(block, place) if output else _box(block) for block in place.blocks]
        return StoredTensor(node.layer or "input", boxes, _numbers_of(dtype), frozenset(reads), place.target != 0,
                            self._load(number))

    def _load(self, number: int) -> Load:
        """The memory of a block, from a sample of them."""
        place, step = self._places[number], max(1, (len(self._places[number].blocks) - 1) // (SAMPLED - 1))
        loads = [self._load_of(place, block) for block in place.blocks[::step]]
        network = self.predictor.network
        extra = overhead(network.device.type, network.precision, network.backend)
        read, made, working = (max(each) for each in zip(*loads, strict=True))
        return Load(read, made, extra.peak(working + made, self.predictor.tracer.parameters))

    def _load_of(self, place: _Place, block: Ranges) -> tuple[int, int, int]:
        plan = self._plan_of(place)
        made = bytes_of(plan.graph, place.target, block)
        if place.target == 0:
            return made, made, 0
        steps = plan.program(place.target, block)
        read = sum(bytes_of(plan.graph, leaf, box) for leaf, box in steps.needs.items()
                   if leaf not in plan.graph.constants)
        return read + made * self._adds(place), made, plan.working(steps)


def _box(ranges: Ranges) -> Box:
    return Box.between([low for low, _ in ranges], [high for _, high in ranges])


def _ranges(box: Box) -> Ranges:
    return tuple((span.start, span.stop) for span in box.spans)


def _as_in_memory(x: torch.Tensor, full: Sequence[bool]) -> torch.Tensor:
    """The same values as a part of a larger tensor, along the axes that are not full.

    Vectorised loops end where rows of memory do, and what is left of a row may round differently.
    """
    if all(full):
        return x
    room = x.new_empty([size + (not is_full) for size, is_full in zip(x.shape, full, strict=True)])
    part = room[tuple(slice(size) for size in x.shape)]
    return part.copy_(x)


def _numbers_of(dtype: torch.dtype) -> np.dtype[Any]:
    """The type of numpy in which a tensor is stored; bfloat16, which numpy does not know, as its bits."""
    return _as_numbers(torch.empty(0, dtype=dtype)).numpy().dtype


def _as_numbers(values: torch.Tensor) -> torch.Tensor:
    return values.view(torch.int16) if values.dtype == torch.bfloat16 else values


def _as_tensor(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return values.view(dtype) if dtype == torch.bfloat16 else values
