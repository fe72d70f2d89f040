"""Averaging over flips and quarter turns of the plane, exactly.

A network applied to turned images acts as another network, with a turned footprint. The average needs the
context of all orientations, and keeps the phase of the plain pass, so that each orientation has the same
phase on the volume for every tile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Protocol

import torch

from tiler.errors import ModelError
from tiler.geometry import Box, Footprint, Reach, Shape, Span

Forward = Callable[[torch.Tensor], torch.Tensor]
"""``(n, c, *tile) -> (n, k, *plain.output(tile))``; two or three spatial axes."""


class Orientations(Protocol):
    """The orientations in which a network sees each input, and how their results are averaged. Frozen and picklable.

    Attributes
    ----------
    identity
        Their entries in the identity of a predictor: the name as given to ``average``, and more.
    plain
        Footprint of the network alone.
    footprint
        Footprint of the average.
    count
        Number of orientations.
    """

    @property
    def identity(self) -> Mapping[str, str]: ...
    @property
    def plain(self) -> Footprint: ...
    @property
    def footprint(self) -> Footprint: ...
    @property
    def count(self) -> int: ...

    def check(self, tile: Shape) -> None:
        """Raise `OutputShapeError` if these orientations do not support a tile ``(z, y, x)``."""
        ...

    def network_size(self, tile: Shape) -> Shape:
        """``(z, y, x)`` of the network's input for a tile."""
        ...

    def mean(self, forward: Forward, x: torch.Tensor) -> torch.Tensor:
        """``(n, k, *footprint.output(tile))``: the average for a tile ``(n, c, *tile)``."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """One symmetry of the plane: transpose y and x, then flip. The last two axes are y and x; z never turns."""

    transpose: bool = False
    flip_y: bool = False
    flip_x: bool = False

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(-2, -1) if self.transpose else x
        return x.flip(self._flipped) if self._flipped else x

    def undo(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flip(self._flipped) if self._flipped else x
        return x.transpose(-2, -1) if self.transpose else x

    def footprint(self, plain: Footprint) -> Footprint:
        """Footprint of the network between `apply` and `undo`, in the frame of the image."""
        z, y, x = plain.axes
        y, x = (_mirrored(y) if self.flip_y else y), (_mirrored(x) if self.flip_x else x)
        return Footprint.of((z, x, y) if self.transpose else (z, y, x))

    def part(self, box: Box, shape: Sequence[int]) -> Box:
        """The box in the turned image that a box of an image of that shape maps to; both of (z, y, x)."""
        spans, sizes = list(box.spans), list(shape)
        if self.transpose:
            spans[1:], sizes[1:] = spans[:0:-1], sizes[:0:-1]
        for axis in self._flipped:
            spans[axis] = Span(sizes[axis] - spans[axis].stop, sizes[axis] - spans[axis].start)
        return Box(tuple(spans))

    def origin(self, box: Box, shape: Sequence[int]) -> Box:
        """The box in an image of that shape that a box of the turned image comes from; both of (z, y, x)."""
        spans, sizes = list(box.spans), list(shape)
        if self.transpose:
            sizes[1:] = sizes[:0:-1]
        for axis in self._flipped:
            spans[axis] = Span(sizes[axis] - spans[axis].stop, sizes[axis] - spans[axis].start)
        if self.transpose:
            spans[1:] = spans[:0:-1]
        return Box(tuple(spans))

    @property
    def _flipped(self) -> list[int]:
        return [axis for axis, flip in ((-2, self.flip_y), (-1, self.flip_x)) if flip]


def _mirrored(reach: Reach) -> Reach:
    return Reach(reach.high, reach.low, reach.shrink_high, reach.shrink_low, reach.stride)


_FLIPS = [Turn(False, y, x) for y, x in product((False, True), repeat=2)]
TURNS: dict[str, tuple[Turn, ...]] = {
    "none": (Turn(),),
    "flip4": tuple(_FLIPS),
    # A quarter turn is a transposition followed by one flip.
    "rot4": (Turn(), Turn(True, True, False), Turn(False, True, True), Turn(True, False, True)),
    "d4": tuple(Turn(t, y, x) for t, y, x in product((False, True), repeat=3)),
}


def union(plain: Footprint, turns: Sequence[Turn]) -> Footprint:
    """The footprint of the average over `turns`.

    Every orientation's output is cropped to the part that all orientations give. The low context keeps its residue
    modulo the stride, so that the plain orientation, which is among the turns, keeps its phase on the volume. The sum
    of low and high context keeps its residue too, so that tiles stay in the network's own residue class of sizes.

    Raises
    ------
    ModelError
        If y and x differ in reach and the turns exchange them.
    """
    if any(turn.transpose for turn in turns) and plain.axes[1] != plain.axes[2]:
        raise ModelError("averaging over quarter turns needs a network with the same footprint along y and x, it "
                         f"has {plain.axes[1]} and {plain.axes[2]}: use `average=flip4`")
    turned = [turn.footprint(plain).axes for turn in turns]
    by_axis = zip(*turned, strict=True)
    return Footprint.of([_union_axis(own, reaches) for own, reaches in zip(plain.axes, by_axis, strict=True)])


def _union_axis(plain: Reach, reaches: Sequence[Reach]) -> Reach:
    def at_least(value: int, like: int) -> int:
        return value + (like - value) % plain.stride

    low = at_least(max(reach.low for reach in reaches), plain.low)
    high = at_least(max(reach.high for reach in reaches), plain.low + plain.high - low)
    return Reach(
        low,
        high,
        max(reach.shrink_low for reach in reaches),
        max(reach.shrink_high for reach in reaches),
        plain.stride,
    )


@dataclass(frozen=True)
class Turns:
    """Flips and quarter turns of the plane: `Orientations` that need no resampling.

    Parameters
    ----------
    plain
        Footprint of the network alone.
    name
        A key of `TURNS`.
    """

    plain: Footprint
    name: str = "none"

    @property
    def identity(self) -> Mapping[str, str]:
        return {"average": self.name}

    @property
    def turns(self) -> tuple[Turn, ...]:
        return TURNS[self.name]

    @property
    def count(self) -> int:
        return len(self.turns)

    @cached_property
    def footprint(self) -> Footprint:
        return union(self.plain, self.turns)

    def check(self, tile: Shape) -> None:
        """Accept every tile."""

    def network_size(self, tile: Shape) -> Shape:
        return tile

    def mean(self, forward: Forward, x: torch.Tensor) -> torch.Tensor:
        return mean_over(forward, x, self.plain, self.turns)


def mean_over(
    forward: Forward, x: torch.Tensor, plain: Footprint, turns: Sequence[Turn]
) -> torch.Tensor:
    """``(n, k, *size)``: mean of `forward` over the turned copies of ``x``, where every orientation has a value.

    Parameters
    ----------
    forward
        See `Forward`.
    x
        The tile.
    plain
        Footprint of `forward`.
    turns
        Summed in this order, so that the result is the same every time.
    """
    joint = union(plain, turns)
    total: torch.Tensor | None = None
    for turn in turns:
        own = turn.footprint(plain)
        part = turn.undo(forward(turn.apply(x)))
        for axis in range(-1, 1 - x.ndim, -1):
            start = joint.shrink_low[axis] - own.shrink_low[axis]
            stop = part.shape[axis] - (joint.shrink_high[axis] - own.shrink_high[axis])
            part = part.narrow(axis, start, stop - start)
        if len(turns) == 1:
            return part
        total = part.clone() if total is None else total.add_(part)
    assert total is not None
    return total.div_(len(turns))
