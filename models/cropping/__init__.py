"""Crops of a network's output without computing the rest: `Outline` tells what they cost, `Cropper` makes them.

A network is recorded as a list of aten operators on the meta device. Where one of them is not understood the
network is run as it is and its output cropped, which is the same result for more work.
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
from tiler.models.cropping.graph import NotCroppableError, Size, record
from tiler.models.cropping.program import Program, Wiring, shortened, total_flops
from tiler.models.probe.proof import random_copy

__all__ = ["Alone", "Cropper", "NotCroppableError", "Outline", "check_crops", "shortened"]

KEPT = 64
"""Programs that are kept; a run with more kinds of tiles makes them anew, which takes milliseconds."""

TOLERANCE = 1e-12
"""Of the output's range, in float64."""


class Outline:
    """What crops of a network's output cost. Picklable; recorded when first asked.

    Parameters
    ----------
    meta
        Gives the network without its values.
    shape
        ``(1, c, [z], y, x)`` of a legal input to record.
    """

    def __init__(self, meta: Callable[[], nn.Module], shape: Size) -> None:
        self._meta, self._shape = meta, shape

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._meta, self._shape)

    @cached_property
    def wiring(self) -> Wiring:
        """Of the recorded input.

        Raises
        ------
        NotCroppableError
            If there is something in the network of which no part can be computed alone.
        """
        try:
            meta = self._meta()
        except Exception as error:  # whatever a factory or a file says to having no data
            raise NotCroppableError(f"the network cannot be had without its values: {error}") from error
        return Wiring(record(meta, self._shape))

    def flops(self, size: Shape, crops: Sequence[Mapping[Span, int]]) -> float:
        """Of all crops of inputs of one legal size; see `total_flops`."""
        return total_flops(self._resized(size), crops)

    @lru_cache(maxsize=KEPT)  # noqa: B019  an outline lives as long as its predictor
    def _resized(self, size: Shape) -> Wiring:
        return self.wiring.resized(size)


class Cropper:
    """``(n, c, *size)`` and a box of the output to ``(n, k, *crop.shape)``: a network that makes what is wanted.

    Parameters
    ----------
    module
        The network on its device.
    meta
        The same without its values.
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
        """Of inputs ``(n, *shape)``."""
        if shape not in self._wirings:
            self._wirings[shape] = Wiring(record(self._meta, (1, *shape)))
        return self._wirings[shape]

    def program(self, shape: Size, crop: Box) -> Program:
        """For one crop of inputs ``(n, *shape)``."""
        key = shape, crop
        if key not in self._programs:
            self._programs[key] = Program(self.wiring(shape), crop)
            while len(self._programs) > KEPT:
                self._programs.popitem(last=False)
        return self._programs[key]


class Alone(nn.Module):
    """``(n, c, *program.input.shape) -> (n, k, *crop.shape)``: one program as a module, to be exported.

    Parameters
    ----------
    program
        What to run.
    module
        The network.
    """

    def __init__(self, program: Program, module: nn.Module) -> None:
        super().__init__()
        self.program, self.module = program, module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.program(x, weights_of(self.module))


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def check_crops(module: nn.Module, meta: nn.Module, footprint: Footprint, in_channels: int, ndim: int) -> None:
    """Compare crops with the whole output, in float64 with random weights that vary.

    Parameters
    ----------
    module, meta
        The network, and the same without its values; neither is changed.
    footprint
        Of the network, over (z, y, x).
    in_channels, ndim
        Channels and axes of its input.

    Raises
    ------
    NotCroppableError
        If one differs by more than `TOLERANCE` of the output's range.
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
    """Largest difference, as a share of the range."""
    parts: list[tuple[Box, Any]] = [(crop, (..., *crop.slices)) for crop in _samples(tuple(whole.shape[2:]))]
    found = [(cropper(image, crop) - whole[inside]).abs().max() for crop, inside in parts]
    return float(torch.stack(found).max() / (whole.max() - whole.min()))


def _samples(size: Shape) -> list[Box]:
    """An odd box amid, and either end of all axes; three, since a network of volumes takes its time."""
    third = [max(1, side // 3) for side in size]
    return [
        Box.between(third, [side - part + 1 for side, part in zip(size, third, strict=True)]),
        Box.between([0] * len(size), third),
        Box.between([side - part for side, part in zip(size, third, strict=True)], size),
    ]
