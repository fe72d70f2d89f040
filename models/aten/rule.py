"""Rules of operators: one `Rule` per call, made by the function that the table holds for the operator's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

from tiler.models.aten.graph import Node, Size
from tiler.models.aten.maps import Along, Axes, Fixed, InputMap, Ranges, Reshape, lengths
from tiler.models.aten.statistics import Statistic


class NoRuleError(Exception):
    """A call that cannot be computed in parts; it is computed on whole tensors."""


@dataclass(slots=True)
class Part:
    """One operator and its inputs, ready to compute a part of its output.

    Parameters
    ----------
    node, rule
        The operator.
    made
        The box to make.
    reads
        The box of every tensor that the operator reads; None where it needs nothing of a tensor.
    tensors
        Values of these boxes, in the order of `Node.reads`.
    known
        The statistic of the whole input, if the operator needs one.
    device
        Device of new tensors.
    """

    node: Node
    rule: Rule
    made: Ranges
    reads: Sequence[Ranges | None]
    tensors: list[torch.Tensor | None]
    known: Any = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def shape(self) -> Size:
        """Shape of the box to make."""
        return lengths(self.made)

    @property
    def first(self) -> torch.Tensor:
        """Values of the first tensor that the operator reads."""
        tensor = self.tensors[0]
        assert tensor is not None
        return tensor

    def named(self, name: str) -> torch.Tensor | None:
        """The tensor passed as the named argument; None if none was passed."""
        place = self.node.read_as(name)
        return None if place is None else self.tensors[place]

    def wanted(self, place: int = 0) -> Ranges:
        """The box of an input that is needed, padding included."""
        source = self.rule.maps[place]
        assert isinstance(source, Axes)
        return source.unclipped(self.made)

    def call(self, **changed: Any) -> torch.Tensor:
        """Call the operator on the parts, with some of its arguments changed."""
        present = [tensor for tensor in self.tensors if tensor is not None]
        return self.node.call(present, self.device, **changed)


@dataclass(frozen=True)
class Rule:
    """How to compute parts of one operator's output.

    Parameters
    ----------
    maps
        For every tensor that the operator reads, the map from a box of the output to the box that it needs.
    run
        Function that computes the box `Part.made`.
    whole
        Axes of the output that are always made whole.
    statistic
        Statistic of the whole first input that the operator needs; None for most operators. For a reduction the
        statistic is the result itself.
    heavy
        Whether computing an element twice is expensive: True for convolutions and matrix products.
    opaque
        Reason why the operator cannot be computed in parts; it then reads and makes whole tensors.
    """

    maps: tuple[InputMap, ...]
    run: Callable[[Part], torch.Tensor]
    whole: frozenset[int] = frozenset()
    statistic: Statistic | None = None
    heavy: bool = False
    opaque: str = ""

    def widened(self, made: Ranges, shape: Size) -> Ranges:
        """The smallest box that contains a box and that the operator can make."""
        if self.whole:
            made = tuple((0, shape[axis]) if axis in self.whole else span for axis, span in enumerate(made))
        if self.reshape is not None:
            made = self.reshape.widened(made)
        return made

    @cached_property
    def reshape(self) -> Reshape | None:
        return self.maps[0] if self.maps and isinstance(self.maps[0], Reshape) else None

    @cached_property
    def reduces(self) -> bool:
        """Whether the statistic is the result."""
        return self.statistic is not None and self.statistic.is_result


RuleOf = Callable[[Node], Rule]
RULES: dict[str, RuleOf] = {}
"""The one table of operators, by name."""


def operator(names: str) -> Callable[[RuleOf], RuleOf]:
    """Register a function in the table under the names of some aten operators."""
    def enter(function: RuleOf) -> RuleOf:
        for name in names.split():
            assert name not in RULES, name
            RULES[name] = function
        return function
    return enter


def need(holds: bool, why: str) -> None:
    """Raise `NoRuleError` unless a condition for computing the call in parts holds."""
    if not holds:
        raise NoRuleError(why)


def all_of(shape: Size) -> Axes:
    """The map of an input that every output needs whole."""
    return Axes(tuple(Fixed(0, size) for size in shape), shape)


def broadcast(shape: Size, out: Size) -> Axes:
    """The map of an input that is broadcast to the output: its axes of size 1 are repeated."""
    lead = len(out) - len(shape)
    return Axes(tuple(Fixed(0, 1) if size == 1 else Along(axis + lead) for axis, size in enumerate(shape)), shape)


def numbers(value: Any, count: int) -> list[int]:
    """One number per axis, from one number for all axes or from a list."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * count if len(values) == 1 else values


def fitted(x: torch.Tensor, have: Ranges, want: Ranges, value: float = 0.0) -> torch.Tensor:
    """Cut one box out of another and fill it with a value where it reaches beyond."""
    pads: list[int] = []
    for axis, ((low, high), (start, stop)) in enumerate(zip(have, want, strict=True)):
        first, last = max(low, start), min(high, stop)
        if first >= last:  # nothing of it is left
            return x.new_full(lengths(want), value)
        if (first, last) != (low, high):
            x = x.narrow(axis, first - low, last - first)
        pads = [first - start, stop - last, *pads]
    return F.pad(x, pads, value=value) if any(pads) else x


def cut(x: torch.Tensor, have: Ranges, want: Ranges) -> torch.Tensor:
    """Cut a box out of one that contains it, without a copy."""
    for axis, ((low, high), (start, stop)) in enumerate(zip(have, want, strict=True)):
        if (low, high) != (start, stop):
            x = x.narrow(axis, start - low, stop - start)
    return x
