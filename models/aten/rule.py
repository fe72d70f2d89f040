"""What is known of an operator: one `Rule` for every call, made by the function that the table has for its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F

from tiler.models.aten.graph import Node, Size
from tiler.models.aten.maps import Along, Axes, Fixed, InputMap, Range, Ranges, Reshape, lengths
from tiler.models.aten.statistics import Statistic


class NoRuleError(Exception):
    """A call of which no part can be made alone: it is computed on whole tensors."""


@dataclass(slots=True)
class Part:
    """One operator about to make a part of its output.

    Parameters
    ----------
    node, rule
        The operator.
    made
        The box to make.
    reads
        The box of every tensor that is read, None where nothing is needed of it.
    tensors
        Those boxes' values, in the order of `Node.reads`.
    known
        What a statistic of the whole input has found, where the operator needs one.
    device
        Where new tensors are made.
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
        """Of what is made."""
        return lengths(self.made)

    @property
    def first(self) -> torch.Tensor:
        """The value of the first tensor that is read."""
        tensor = self.tensors[0]
        assert tensor is not None
        return tensor

    def named(self, name: str) -> torch.Tensor | None:
        """The value of an argument, None where none was given."""
        place = self.node.read_as(name)
        return None if place is None else self.tensors[place]

    def wanted(self, place: int = 0) -> Ranges:
        """The box of an input that is needed, padding included."""
        source = self.rule.maps[place]
        assert isinstance(source, Axes)
        return source.unclipped(self.made)

    def call(self, **changed: Any) -> torch.Tensor:
        """The operator itself, on the parts, with some of its arguments changed."""
        present = [tensor for tensor in self.tensors if tensor is not None]
        return self.node.call(present, self.device, **changed)


@dataclass(frozen=True)
class Rule:
    """How parts of one operator's output are made.

    Parameters
    ----------
    maps
        For every tensor that is read, which box of it a box of the output needs.
    run
        Makes the box `Part.made`.
    whole
        Axes of the output that are made whole, whatever part of them is wanted.
    statistic
        What has to be known of the whole of the first input, None for most operators. Of a reduction it gives the
        result itself.
    heavy
        Whether making an element twice is worth a thought: convolutions and matrix products.
    opaque
        Why no part can be made alone; such operators read and make whole tensors.
    """

    maps: tuple[InputMap, ...]
    run: Callable[[Part], torch.Tensor]
    whole: frozenset[int] = frozenset()
    statistic: Statistic | None = None
    heavy: bool = False
    opaque: str = ""

    def widened(self, made: Ranges, shape: Size) -> Ranges:
        """The smallest box around one that can be made."""
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
    """Enter a function into the table under some names of aten operators."""
    def enter(function: RuleOf) -> RuleOf:
        for name in names.split():
            assert name not in RULES, name
            RULES[name] = function
        return function
    return enter


def need(holds: bool, why: str) -> None:
    """Refuse a call of which no part can be made alone."""
    if not holds:
        raise NoRuleError(why)


def all_of(shape: Size) -> Axes:
    """An input of which everything is needed."""
    return Axes(tuple(Fixed(0, size) for size in shape), shape)


def broadcast(shape: Size, out: Size) -> Axes:
    """An input that meets the output element by element, repeated along its axes of one element."""
    lead = len(out) - len(shape)
    return Axes(tuple(Fixed(0, 1) if size == 1 else Along(axis + lead) for axis, size in enumerate(shape)), shape)


def numbers(value: Any, count: int) -> list[int]:
    """One number for each axis, from one for all of them or from a list."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * count if len(values) == 1 else values


def fitted(x: torch.Tensor, have: Ranges, want: Ranges, value: float = 0.0) -> torch.Tensor:
    """One box cut out of another, filled up with a value where it reaches beyond."""
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
    """A box inside another, without a copy."""
    for axis, ((low, high), (start, stop)) in enumerate(zip(have, want, strict=True)):
        if (low, high) != (start, stop):
            x = x.narrow(axis, start - low, stop - start)
    return x


def local_range(span: Range, start: int) -> Range:
    return span[0] - start, span[1] - start
