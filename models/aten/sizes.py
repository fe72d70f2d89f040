"""Find the input sizes that a network takes, by trying some of them on the meta device."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import torch
from torch import nn

from tiler.models.aten.graph import NotStagedError, Size
from tiler.models.aten.modules import quiet
from tiler.models.aten.observer import Shapes

PERIODS = (1, 2, 4, 8, 16, 32, 64, 128)
"""The sizes that a network takes are often multiples of its pooling."""
LEAST_SIDES = (8, 16, 32, 65)
"""Sides of a canvas: the first that the network takes. Deep networks pool small ones away."""
MOST_PERIODS = 8
CELLS = 20_000
"""Largest number of voxels of a canvas, unless two periods along an axis need more."""

Found = TypeVar("Found")
Tried = TypeVar("Tried")


def least_periods(kept: Callable[[Size], Size], ndim: int) -> Size:
    """``([z], y, x)``: the least sizes whose odd multiples a network takes and returns unchanged.

    Parameters
    ----------
    kept
        Function from a size of the input to the size of the output.
    ndim
        Number of spatial axes of the input.

    Raises
    ------
    NotStagedError
        If the network takes none of the sizes tried.
    """

    def checked(periods: Size) -> Size:
        canvas = canvas_of(periods, LEAST_SIDES[-1])
        made = kept(canvas)
        if made != canvas:
            raise NotStagedError(f"it makes {made} of an input of {canvas}")
        return periods

    def takes(periods: Size) -> bool:
        with suppress(NotStagedError):
            return bool(checked(periods))
        return False

    if takes((1,) * ndim):
        return (1,) * ndim
    # A network that takes multiples of some power of two takes those of larger ones.
    place = bisect_left(PERIODS[1:-1], True, key=lambda each: takes((each,) * ndim)) + 1
    periods = list(checked((PERIODS[place],) * ndim))
    for axis in range(ndim):
        while periods[axis] > 1 and takes((*periods[:axis], periods[axis] // 2, *periods[axis + 1 :])):
            periods[axis] //= 2
    return tuple(periods)


def periods_of(meta: nn.Module, in_channels: int, ndim: int) -> Size:
    """`least_periods` of a network on the meta device.

    Raises
    ------
    NotStagedError
        If its output keeps none of the sizes tried.
    """
    like = next((value for value in meta.parameters() if value.is_floating_point()), torch.empty(0))

    def kept(canvas: Size) -> Size:
        try:
            with torch.no_grad(), quiet(), Shapes():
                made = meta(torch.empty(1, in_channels, *canvas, dtype=like.dtype, device="meta"))
                return tuple(made.shape[2:])
        except Exception as error:  # a network may raise any error for a size that it does not take
            raise NotStagedError(f"it does not run without data: {error}") from error

    return least_periods(kept, ndim)


def sizes_kept(meta: nn.Module, in_channels: int, ndim: int) -> Size | None:
    """The same; None if its output keeps none of the sizes tried."""
    with suppress(NotStagedError):
        return periods_of(meta, in_channels, ndim)
    return None


def first_taken(values: Sequence[Tried], tried: Callable[[Tried], Found]) -> Found:
    """The result for the first value that is not refused; if all are, raise the last refusal."""
    for value in values[:-1]:
        with suppress(NotStagedError):
            return tried(value)
    return tried(values[-1])


def canvases_of(periods: Size) -> list[Size]:
    """Canvases from small to large, of which a check takes the first that the network takes.

    In three axes a long one comes before the largest. A network of five poolings that normalises their last map needs
    more than 32 cubed; 32 x 32 x 96 has a ninth of the cells of 96 cubed, which take gigabytes at hundreds of channels.
    """
    found = [canvas_of(periods, least) for least in LEAST_SIDES]
    if len(periods) == 3:
        *_, short, long = ([_side(period, least) for period in periods] for least in LEAST_SIDES)
        found.insert(-1, (*short[:-1], long[-1]))
    return found


def _side(period: int, least: int) -> int:
    """The shortest side of at least that length and an odd number of periods."""
    return (-(-least // period) | 1) * period


def canvas_of(periods: Size, least: int) -> Size:
    """A canvas of odd numbers of periods, which rules out larger periods, and as few cells as possible."""
    counts = [-(-least // period) | 1 for period in periods]
    while True:
        sides = tuple(count * period for count, period in zip(counts, periods, strict=True))
        axis = min(range(len(sides)), key=lambda at: (sides[at], -at))
        if math.prod(sides) * (counts[axis] + 2) > CELLS * counts[axis] or counts[axis] >= MOST_PERIODS:
            return sides
        counts[axis] += 2
