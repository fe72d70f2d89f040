"""Compute a crop of a network's output without the rest: `Outline` estimates the cost, `Cropper` does the work.

A network is recorded on the meta device as a list of aten operators. If one of them has no rule, the whole network runs
and its output is cropped, which gives the same result for more work.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import nn

from tiler.geometry import Box, Footprint, Shape, Span
from tiler.models.aten.modules import quiet
from tiler.models.aten.random_weights import random_copy
from tiler.models.cropping.graph import NotCroppableError, Size, record
from tiler.models.cropping.program import Program, Wiring, shortened, total_flops

__all__ = ["Alone", "Cropper", "NotCroppableError", "Outline", "check_crops", "shortened"]

KEPT = 64
"""Largest number of programs to keep; making one takes milliseconds."""

TOLERANCE = 1e-12
"""Largest accepted difference as a share of the output's range, in float64."""


class Outline:
    """Cost of crops of a network's output. Picklable; the network is recorded at first use.

    Parameters
    ----------
    meta
        Builds the network without values, on the meta device.
    shape
        ``(1, c, [z], y, x)``: shape of a legal input to record.
    """

    def __init__(self, meta: Callable[[], nn.Module], shape: Size) -> None:
        self._meta, self._shape = meta, shape

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._meta, self._shape)

    @cached_property
    def wiring(self) -> Wiring:
        """Wiring for the recorded input.

        Raises
        ------
        NotCroppableError
            The network has an operator that cannot be computed in parts.
        """
        try:
            meta = self._meta()
        except Exception as error:  # a factory or a file may raise anything without data
            raise NotCroppableError(f"the network cannot be built without its values: {error}") from error
        return Wiring(record(meta, self._shape))

    def flops(self, size: Shape, crops: Sequence[Mapping[Span, int]]) -> float:
        """Return the operations for all crops of inputs of one legal size; see `total_flops`."""
        return total_flops(self._resized(size), crops)

    @lru_cache(maxsize=KEPT)  # noqa: B019  an outline lives as long as its predictor
    def _resized(self, size: Shape) -> Wiring:
        return self.wiring.resized(size)


class Cropper:
    """A network that computes only a box of its output: ``(n, c, *size)`` and a crop give ``(n, k, *crop.shape)``.

    Parameters
    ----------
    module
        The network on its device.
    meta
        The same network without values, on the meta device.
    """

    def __init__(self, module: nn.Module, meta: nn.Module) -> None:
        self._meta, self._weights = meta, weights_of(module)
        self._wirings: dict[Size, Wiring] = {}
        self._programs: OrderedDict[tuple[Size, Box], Program] = OrderedDict()

    def __call__(self, x: torch.Tensor, crop: Box) -> torch.Tensor:
        program = self.program(tuple(x.shape[1:]), crop)
        inside: Any = (..., *program.input.slices)
        return program(x[inside], self._weights)

    def wiring(self, shape: Size) -> Wiring:
        """Return the wiring for inputs ``(n, *shape)``."""
        if shape not in self._wirings:
            self._wirings[shape] = Wiring(record(self._meta, (1, *shape)))
        return self._wirings[shape]

    def program(self, shape: Size, crop: Box) -> Program:
        """Return the program for one crop of inputs ``(n, *shape)``."""
        key = shape, crop
        if key not in self._programs:
            self._programs[key] = Program(self.wiring(shape), crop)
            while len(self._programs) > KEPT:
                self._programs.popitem(last=False)
        return self._programs[key]


class Alone(nn.Module):
    """One program as a module for export: ``(n, c, *program.input.shape) -> (n, k, *crop.shape)``.

    Parameters
    ----------
    program
        Program to run.
    module
        Network with the weights.
    """

    def __init__(self, program: Program, module: nn.Module) -> None:
        super().__init__()
        self.program, self.module = program, module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.program(x, weights_of(self.module))


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return parameters and buffers by name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def check_crops(module: nn.Module, meta: nn.Module, footprint: Footprint, in_channels: int, ndim: int) -> None:
    """Compare crops with the whole output, in float64 with random weights.

    Parameters
    ----------
    module, meta
        The network, and the same without values; neither is changed.
    footprint
        Footprint of the network over (z, y, x).
    in_channels, ndim
        Channels and axes of the input.

    Raises
    ------
    NotCroppableError
        A crop fails or differs by more than `TOLERANCE` of the output's range.
    """
    tile = footprint.covering(tuple(2 * side for side in footprint.stride))[3 - ndim :]
    image = torch.randn(1, in_channels, *tile, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    try:
        with torch.no_grad(), quiet():
            twin = random_copy(module, seed=0)
            worst = _worst(Cropper(twin, meta.to(torch.float64)), image, twin(image))
    except (RuntimeError, ValueError, IndexError, TypeError, KeyError) as error:
        raise NotCroppableError(f"a crop of it fails: {' '.join(str(error).split())[:200]}") from error
    if not worst <= TOLERANCE:
        raise NotCroppableError(f"its crops differ from the whole by {worst:.1e} of the range")


def _worst(cropper: Cropper, image: torch.Tensor, whole: torch.Tensor) -> float:
    """Return the largest difference as a share of the range."""
    parts: list[tuple[Box, Any]] = [(crop, (..., *crop.slices)) for crop in _samples(tuple(whole.shape[2:]))]
    found = [(cropper(image, crop) - whole[inside]).abs().max() for crop, inside in parts]
    return float(torch.stack(found).max() / (whole.max() - whole.min()))


def _samples(size: Shape) -> list[Box]:
    """Return three boxes: an odd one in the middle, and one at either end of all axes."""
    third = [max(1, side // 3) for side in size]
    return [
        Box.between(third, [side - part + 1 for side, part in zip(size, third, strict=True)]),
        Box.between([0] * len(size), third),
        Box.between([side - part for side, part in zip(size, third, strict=True)], size),
    ]
