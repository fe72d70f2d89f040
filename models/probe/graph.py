"""A traced forward pass: its tensors, the axes of the image in their dimensions, and index maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, NamedTuple

from tiler.models.probe.maps import SAME, WHOLE, Map, Range, Whole

UNIFORM = -1
"""Axis of a dimension along which a tensor is constant, so that it can be combined with any axis."""

Kind = Literal["global", "position", "size", "unknown", "output"]
"""Reasons why a layer prevents exact tiling: dependence on the whole input; on the position in it; on its size; an
unknown operator; an output that is not a map of the input."""


class Atom(NamedTuple):
    """Part of a tensor's dimension: an axis of the image (0, 1, ...), `UNIFORM`, or None for anything else."""

    axis: int | None
    size: int


Dim = tuple[Atom, ...]
"""One dimension of a tensor; it has several atoms, outermost first, if a view has merged several dimensions."""
Dims = tuple[Dim, ...]


def axes_of(dims: Iterable[Dim]) -> list[int]:
    """Return the axes of the image in these dimensions."""
    return [atom.axis for dim in dims for atom in dim if atom.axis is not None and atom.axis != UNIFORM]


@dataclass(frozen=True, slots=True)
class Offence:
    """A layer that prevents exact tiling, and the reason."""

    layer: str
    kind: Kind
    reason: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Edge:
    """One use of a tensor, with the map of each axis; None if the tensor does not have that axis."""

    parent: int
    maps: tuple[Map | None, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """Result of one operator.

    For each axis, ``scale`` is the number of input voxels per step and ``down`` the product of all strides so far.
    """

    op: str
    layer: str
    dims: Dims
    edges: tuple[Edge, ...]
    scale: tuple[Fraction, ...]
    down: tuple[int, ...]

    @property
    def is_global(self) -> bool:
        """Whether it needs a whole axis of the image."""
        return any(isinstance(step, Whole) for edge in self.edges for step in edge.maps)

    @property
    def signature(self) -> tuple[object, ...]:
        """Properties that must not change with the size of the input."""
        return self.op, self.layer, tuple(tuple(atom.axis for atom in dim) for dim in self.dims), self.edges


@dataclass(slots=True)
class Evenness:
    """Whether a strided operator drops nothing (strict), or at least halves an even size (loose)."""

    axis: int
    strict: bool
    loose: bool


@dataclass(slots=True)
class Trace:
    """One forward pass at one size.

    Parameters
    ----------
    sizes
        Size of the input along the image's axes.
    nodes
        Nodes in the order of the calls; node 0 is the input.
    offences, swallows
        Layers that prevent exact tiling, and layers that may turn NaN into finite values.
    strided, unequal
        Whether strided operators drop anything, and axes on which tensors of different scale are combined.
    output, shape
        Number and shape of the output; None if the network raised ``error`` or returned no tensor.
    """

    sizes: tuple[int, ...]
    nodes: list[Node] = field(default_factory=list)
    output: int | None = None
    error: str | None = None
    offences: list[Offence] = field(default_factory=list)
    swallows: list[Offence] = field(default_factory=list)
    strided: list[Evenness] = field(default_factory=list)
    unequal: set[int] = field(default_factory=set)
    padded: bool = False
    shape: tuple[int, ...] = ()

    @property
    def ndim(self) -> int:
        return len(self.sizes)

    def add(self, op: str, layer: str, dims: Dims, uses: Iterable[tuple[int, Mapping[int, Map]]]) -> Node:
        """Add a node; an axis of a parent without a map stays unchanged, or is lost if ``dims`` lack it."""
        kept = set(axes_of(dims))
        edges = tuple(Edge(parent, self._maps(parent, maps, kept)) for parent, maps in uses)
        scale, down = zip(*(self._scale(edges, axis) for axis in range(self.ndim)), strict=True)
        node = Node(op, layer, dims, edges, scale, down)
        self.nodes.append(node)
        return node

    def _maps(self, parent: int, maps: Mapping[int, Map], kept: set[int]) -> tuple[Map | None, ...]:
        present = set(axes_of(self.nodes[parent].dims))
        return tuple(
            None if axis not in present else maps.get(axis, SAME if axis in kept else WHOLE)
            for axis in range(self.ndim)
        )

    def _scale(self, edges: Iterable[Edge], axis: int) -> tuple[Fraction, int]:
        scales, downs = set(), [1]
        for edge in edges:
            step = edge.maps[axis]
            if step is not None and not isinstance(step, Whole):
                scales.add(self.nodes[edge.parent].scale[axis] * step.pace)
                downs.append(self.nodes[edge.parent].down[axis] * max(1, math.floor(step.pace)))
        if len(scales) > 1:
            self.unequal.add(axis)
        return max(scales, default=Fraction(1)), max(downs)

    def even(self, axis: int, strict: bool) -> bool:
        """Whether no pooling floors or ceils on this axis."""
        lossless = all(e.strict or (e.loose and not strict) for e in self.strided if e.axis == axis)
        return lossless and axis not in self.unequal

    def stride(self, axis: int) -> int:
        """Return the smallest shift of the input that shifts every tensor by whole steps."""
        present = [n.scale[axis].numerator for n in self.nodes if axis in axes_of(n.dims)]
        return math.lcm(*present)

    def reach(self, axis: int, low: int, high: int) -> Range | None:
        """Return the range of input indices that a range of the output's indices needs.

        Global edges do not count.
        """
        last = self.output
        assert last is not None
        need: dict[int, Range | None] = {last: (low, high)}
        for number in range(last, 0, -1):
            if number in need:
                wanted = need.pop(number)
                for edge in self.nodes[number].edges:
                    _walk_edge(need, wanted, edge, axis)
        return need.get(0)


def _walk_edge(need: dict[int, Range | None], wanted: Range | None, edge: Edge, axis: int) -> None:
    """Add the range that one edge needs of its parent; None if the parent lacks the axis."""
    step = edge.maps[axis]
    if isinstance(step, Whole):
        return
    asked = None if wanted is None or step is None else step.back(*wanted)
    known = need.get(edge.parent)
    if known is not None and asked is not None:
        asked = min(known[0], asked[0]), max(known[1], asked[1])
    need[edge.parent] = asked or known
