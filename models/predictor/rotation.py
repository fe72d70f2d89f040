"""Averaging over seven rotations of a whole slice, as the U-Net paper did for its ISBI 2012 result.

The paper does not say which seven; here they are the multiples of 360/7 degrees. A rotation by such an angle
resamples the image around a centre, so no two tiles of one slice would agree: one tile covers the slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from tiler.errors import OutputShapeError
from tiler.geometry import Footprint, Reach, Shape
from tiler.models.predictor.averaging import Forward

ANGLES = tuple(2 * math.pi * k / 7 for k in range(7))


@dataclass(frozen=True, slots=True)
class Rotations:
    """How slices of one shape go through a network of one footprint under every angle: `Orientations` that resample.

    Parameters
    ----------
    plain
        Footprint of the network; its z axis is left alone.
    slice_shape
        ``(y, x)`` of the volume.
    """

    plain: Footprint
    slice_shape: tuple[int, int]

    @property
    def name(self) -> str:
        return "rot7"

    @property
    def count(self) -> int:
        return len(ANGLES)

    @property
    def inner(self) -> tuple[int, int]:
        """``(y, x)`` of the network's input: its core, turned by any angle, still covers the slice."""
        # One voxel on either side is for the interpolation, one stride for `_start`, which keeps the phase.
        covered = math.ceil(math.hypot(*self.slice_shape)) + 2
        y, x = (axis.covering(covered + 2 * axis.stride) for axis in self.plain.axes[1:])
        return y, x

    @property
    def outer(self) -> tuple[int, int]:
        """``(y, x)`` of the tile: holds the network's input under any angle, so nothing is made up."""
        centres = [self._start(axis) + (own - 1) / 2 for axis, own in enumerate(self.slice_shape)]
        corner = [max(at, size - 1 - at) for at, size in zip(centres, self.inner, strict=True)]
        side = 2 * math.ceil(math.hypot(*corner)) + 4  # half a voxel and the interpolation's neighbour
        return side, side

    @property
    def footprint(self) -> Footprint:
        """One tile a slice: the stride is the slice, all beyond it is context which the wrapper drops."""
        axes = [self.plain.axes[0]]
        for axis, (size, own) in enumerate(zip(self.outer, self.slice_shape, strict=True)):
            low = self._before(axis)
            axes.append(Reach(low, size - own - low, low, size - own - low, own))
        return Footprint.of(axes)

    def check(self, tile: Shape) -> None:
        if tile[1:] != self.outer:
            raise OutputShapeError(f"seven rotations take one tile of {self.outer} for a slice of "
                                   f"{self.slice_shape}, got {tile[1:]} (--tile, --average)")

    def network_size(self, tile: Shape) -> Shape:
        return (tile[0], *self.inner)

    def mean(self, forward: Forward, x: torch.Tensor) -> torch.Tensor:
        """``(n, k, *slice_shape)`` for ``x`` of ``(n, c, *outer)``: mean over the angles."""
        total: torch.Tensor | None = None
        for angle in ANGLES:
            part = self._back(forward(self._turned(x, angle), 0), angle)
            total = part if total is None else total.add_(part)
        assert total is not None
        return total.div_(len(ANGLES))

    def _before(self, axis: int) -> int:
        """Where the slice starts in the tile."""
        return (self.outer[axis] - self.slice_shape[axis]) // 2

    def _start(self, axis: int) -> int:
        """Where it starts in the network's input: amid the core, on the grid: angle 0 is the plain pass."""
        reach, size = self.plain.axes[axis + 1], self.slice_shape[axis]
        return reach.low + (reach.core(self.inner[axis]) - size) // 2 // reach.stride * reach.stride

    def _turned(self, x: torch.Tensor, angle: float) -> torch.Tensor:
        """The network's input under one angle, around the centre of the slice."""
        to = [self._start(axis) + (own - 1) / 2 for axis, own in enumerate(self.slice_shape)]
        from_ = [self._before(axis) + (own - 1) / 2 for axis, own in enumerate(self.slice_shape)]
        return _resample(x, self.inner, to, from_, angle)

    def _back(self, y: torch.Tensor, angle: float) -> torch.Tensor:
        """The slice out of the network's output under that angle."""
        to = [(own - 1) / 2 for own in self.slice_shape]
        from_ = [middle + self._start(axis) - self.plain.shrink_low[axis + 1] for axis, middle in enumerate(to)]
        return _resample(y, self.slice_shape, to, from_, -angle)


def _resample(
    x: torch.Tensor, size: tuple[int, int], to: list[float], from_: list[float], angle: float
) -> torch.Tensor:
    """``(n, c, [z], *size)``: bilinear values of ``x`` on a grid turned by `angle`; `to` falls on `from_`."""
    images = x.flatten(1, -3)  # a plane of a 3-D volume is one more channel
    y = torch.arange(size[0], dtype=x.dtype, device=x.device)[:, None] - to[0]
    z = torch.arange(size[1], dtype=x.dtype, device=x.device)[None, :] - to[1]
    row = math.cos(angle) * y - math.sin(angle) * z + from_[0]
    column = math.sin(angle) * y + math.cos(angle) * z + from_[1]
    scale = [2 / length for length in x.shape[-2:]]
    grid = torch.stack([(column + 0.5) * scale[1] - 1, (row + 0.5) * scale[0] - 1], -1)
    grid = grid.expand(x.shape[0], -1, -1, -1)
    turned = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return turned.unflatten(1, x.shape[1:-2])
