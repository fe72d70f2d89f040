"""Averaging over seven rotations of a whole slice, as the U-Net paper did for its ISBI 2012 result.

The paper does not state the angles; here they are the multiples of 360/7 degrees. A rotation by such an angle
resamples the image around a centre, so that two tiles of one slice would not agree: one tile covers the slice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional

from tiler.errors import OutputShapeError
from tiler.geometry import Footprint, Reach, Shape
from tiler.models.predictor.averaging import Forward

ANGLES = tuple(2 * math.pi * k / 7 for k in range(7))


@dataclass(frozen=True, slots=True)
class Rotations:
    """`Orientations` that resample: slices of one shape through a network of one footprint, rotated by every angle.

    Parameters
    ----------
    plain
        Footprint of the network; its z axis stays as it is.
    slice_shape
        ``(y, x)`` of the volume.
    """

    plain: Footprint
    slice_shape: tuple[int, int]

    @property
    def identity(self) -> Mapping[str, str]:
        return {"average": "rot7"}

    @property
    def count(self) -> int:
        return len(ANGLES)

    @property
    def inner(self) -> tuple[int, int]:
        """``(y, x)`` of the network's input, whose core covers the slice at any angle."""
        # One voxel on either side for the interpolation, and one stride for `_start`, which keeps the phase.
        covered = math.ceil(math.hypot(*self.slice_shape)) + 2
        y, x = (axis.covering(covered + 2 * axis.stride) for axis in self.plain.axes[1:])
        return y, x

    @property
    def outer(self) -> tuple[int, int]:
        """``(y, x)`` of the tile, which contains the network's input at any angle, so that no voxel is invented."""
        centres = [self._start(axis) + (own - 1) / 2 for axis, own in enumerate(self.slice_shape)]
        corner = [max(at, size - 1 - at) for at, size in zip(centres, self.inner, strict=True)]
        side = 2 * math.ceil(math.hypot(*corner)) + 4  # half a voxel and the interpolation's neighbour
        return side, side

    @property
    def footprint(self) -> Footprint:
        """One tile per slice: the stride is the slice, and the wrapper drops the context around it."""
        axes = [self.plain.axes[0]]
        for axis, (size, own) in enumerate(zip(self.outer, self.slice_shape, strict=True)):
            low = self._before(axis)
            axes.append(Reach(low, size - own - low, low, size - own - low, own))
        return Footprint.of(axes)

    def check(self, tile: Shape) -> None:
        if tile[1:] != self.outer:
            raise OutputShapeError(f"seven rotations take one tile of {self.outer} for a slice of "
                                   f"{self.slice_shape}, got {tile[1:]} (`tile`, `average`)")

    def network_size(self, tile: Shape) -> Shape:
        return (tile[0], *self.inner)

    def mean(self, forward: Forward, x: torch.Tensor) -> torch.Tensor:
        """``(n, k, *slice_shape)`` for ``x`` of ``(n, c, *outer)``: mean over the angles."""
        total: torch.Tensor | None = None
        for angle in ANGLES:
            part = self._back(forward(self._turned(x, angle)), angle)
            total = part if total is None else total.add_(part)
        assert total is not None
        return total.div_(len(ANGLES))

    def _before(self, axis: int) -> int:
        """Start of the slice in the tile."""
        return (self.outer[axis] - self.slice_shape[axis]) // 2

    def _start(self, axis: int) -> int:
        """Start of the slice in the network's input: centred in the core, on the grid, so angle 0 is the plain pass."""
        reach, size = self.plain.axes[axis + 1], self.slice_shape[axis]
        return reach.low + (reach.core(self.inner[axis]) - size) // 2 // reach.stride * reach.stride

    def _turned(self, x: torch.Tensor, angle: float) -> torch.Tensor:
        """The network's input at one angle, rotated around the centre of the slice."""
        to = [self._start(axis) + (own - 1) / 2 for axis, own in enumerate(self.slice_shape)]
        from_ = [self._before(axis) + (own - 1) / 2 for axis, own in enumerate(self.slice_shape)]
        return _resample(x, self.inner, to, from_, angle)

    def _back(self, y: torch.Tensor, angle: float) -> torch.Tensor:
        """The slice, resampled from the network's output at that angle."""
        to = [(own - 1) / 2 for own in self.slice_shape]
        from_ = [middle + self._start(axis) - self.plain.shrink_low[axis + 1] for axis, middle in enumerate(to)]
        return _resample(y, self.slice_shape, to, from_, -angle)


def _resample(
    x: torch.Tensor, size: tuple[int, int], to: list[float], from_: list[float], angle: float
) -> torch.Tensor:
    """``(n, c, [z], *size)``: bilinear values of ``x`` on a grid turned by `angle`; `to` falls on `from_`."""
    images = x.flatten(1, -3)  # planes of a 3-D volume become channels
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
