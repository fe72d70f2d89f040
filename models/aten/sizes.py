"""Which sizes of input a network takes: found by trying some of them, where tensors have shapes only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from tiler.models.aten.graph import NotStagedError, Size
from tiler.models.aten.modules import quiet

PERIODS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Tried one after the other: the sizes that a network takes are often multiples of its pooling."""
LEAST_SIDES = (8, 16, 32, 65)
"""Sides of a canvas: the first that the network takes. Deep networks pool small ones away."""
MOST_PERIODS = 8
CELLS = 20_000
"""Voxels of a canvas at most, as long as it has two periods along some axis."""

Found = TypeVar("Found")


def least_periods(kept: Callable[[Size], Size], ndim: int) -> Size:
    """``([z], y, x)``: the least numbers whose odd multiples a network takes and keeps.

    Parameters
    ----------
    kept
        Gives the size of the output for a size of the input.
    ndim
        Axes of the input.

    Raises
    ------
    NotStagedError
        If the network takes none of the sizes that were tried.
    """

    def takes(periods: Size) -> Size:
        canvas = canvas_of(periods, LEAST_SIDES[-1])
        made = kept(canvas)
        if made != canvas:
            raise NotStagedError(f"it makes {made} of an input of {canvas}")
        return periods

    def along(axis: int, others: Size, each: int) -> Size:
        return takes((*others[:axis], each, *others[axis + 1 :]))

    periods = first_taken(PERIODS, lambda each: takes((each,) * ndim))
    for axis in range(ndim):
        smaller = [each for each in PERIODS if each <= periods[axis]]
        periods = first_taken(smaller, partial(along, axis, periods))
    return periods


def sizes_kept(meta: nn.Module, in_channels: int, ndim: int) -> Size | None:
    """The same of a network on the meta device, called as it is; None where it keeps no size that was tried."""

    def kept(canvas: Size) -> Size:
        try:
            with torch.no_grad(), quiet():
                return tuple(meta(torch.empty(1, in_channels, *canvas, device="meta")).shape[2:])
        except Exception as error:  # a network raises whatever it likes where a size does not suit it
            raise NotStagedError(str(error)) from error

    try:
        return least_periods(kept, ndim)
    except NotStagedError:
        return None


def first_taken(values: Sequence[int], tried: Callable[[int], Found]) -> Found:
    """The result for the first value that is not refused; where all are, the last refusal is raised."""
    for value in values[:-1]:
        with suppress(NotStagedError):
            return tried(value)
    return tried(values[-1])


def canvas_of(periods: Size, least: int) -> Size:
    """Odd numbers of periods, so that no larger period will do, and no more cells than need be."""
    counts = [-(-least // period) | 1 for period in periods]
    while True:
        sides = tuple(count * period for count, period in zip(counts, periods, strict=True))
        axis = min(range(len(sides)), key=lambda at: (sides[at], -at))
        if math.prod(sides) * (counts[axis] + 2) > CELLS * counts[axis] or counts[axis] >= MOST_PERIODS:
            return sides
        counts[axis] += 2
