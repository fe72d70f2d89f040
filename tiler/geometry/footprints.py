"""What a model needs around what it gives, on one axis and on all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiler.errors import GeometryError
from tiler.geometry.boxes import Shape


@dataclass(frozen=True, slots=True)
class Reach:
    """A footprint on one axis, in voxels."""

    low: int
    high: int
    shrink_low: int
    shrink_high: int
    stride: int

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise GeometryError(f"a stride is at least 1, got {self.stride}")
        if self.low < self.shrink_low or self.high < self.shrink_high:
            raise GeometryError(f"the context ({self.low}, {self.high}) is smaller than what the model drops "
                                f"({self.shrink_low}, {self.shrink_high})")

    @property
    def smallest(self) -> int:
        """The smallest legal tile: its core is one stride."""
        return self.low + self.high + self.stride

    def core(self, tile: int) -> int:
        return max(0, (tile - self.low - self.high) // self.stride * self.stride)

    def admits(self, tile: int) -> bool:
        return tile >= self.smallest and self.in_phase(tile)

    def in_phase(self, size: int) -> bool:
        """Whether no pooling floors or ceils at this input size."""
        return (size - self.low - self.high) % self.stride == 0

    def covering(self, core: int) -> int:
        """The smallest legal tile whose core has at least that many voxels."""
        return self.low + self.high + max(1, -(-core // self.stride)) * self.stride

    def nearest(self, tile: int) -> tuple[int, int]:
        """The legal tiles at or below and at or above; the smallest one where there is none below."""
        below = max(self.smallest, self.low + self.high + self.core(tile))
        return below, (below if below >= tile else below + self.stride)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one output voxel depends on, per axis (z, y, x), in voxels.

    Parameters
    ----------
    low, high
        Context before and after a stride-aligned core: 92 and 96 for the valid U-Net of depth 4.
    shrink_low, shrink_high
        What the model itself drops at either end: 92 and 92 there, 0 for same padding.
    stride
        The shift under which the model repeats exactly (its total pooling): 16 there.

    Notes
    -----
    Legal tiles lie in one residue class of the stride, that of ``low + high``; the probe that finds a
    footprint rounds ``high`` so that this class is the one at which no pooling floors or ceils.
    """

    low: Shape
    high: Shape
    shrink_low: Shape
    shrink_high: Shape
    stride: Shape

    def __post_init__(self) -> None:
        _ = self.axes  # each Reach checks itself

    @classmethod
    def of(cls, axes: Sequence[Reach]) -> Footprint:
        return cls(*(tuple(getattr(axis, name) for axis in axes) for name in Reach.__slots__))

    @property
    def axes(self) -> tuple[Reach, ...]:
        fields = (self.low, self.high, self.shrink_low, self.shrink_high, self.stride)
        return tuple(Reach(*values) for values in zip(*fields, strict=True))

    @property
    def smallest(self) -> Shape:
        return tuple(axis.smallest for axis in self.axes)

    @property
    def flat(self) -> bool:
        """Whether slices along the first axis do not know of each other, as in a 2-D network."""
        return self.axes[0].smallest == 1

    @property
    def keeps_size(self) -> bool:
        """Whether the output is as large as the input."""
        return not any(self.shrink_low) and not any(self.shrink_high)

    def core(self, tile: Shape) -> Shape:
        """The part of a tile that may be written: 572 gives 384 for the valid U-Net of depth 4."""
        return tuple(axis.core(size) for axis, size in zip(self.axes, tile, strict=True))

    def output(self, tile: Shape) -> Shape:
        """The shape that the model returns for a tile: 572 gives 388 there."""
        return tuple(size - axis.shrink_low - axis.shrink_high for axis, size in zip(self.axes, tile, strict=True))

    def admits(self, tile: Shape) -> bool:
        """Whether a tile survives every pooling and has a core: 572 does, 570 and 188 do not."""
        return all(axis.admits(size) for axis, size in zip(self.axes, tile, strict=True))

    def nearest(self, tile: Shape) -> tuple[Shape, Shape]:
        """The legal tiles at or below and at or above, axis by axis."""
        pairs = [axis.nearest(size) for axis, size in zip(self.axes, tile, strict=True)]
        return tuple(below for below, _ in pairs), tuple(above for _, above in pairs)

    def covering(self, core: Shape) -> Shape:
        """The smallest legal tile whose core holds that shape."""
        return tuple(axis.covering(size) for axis, size in zip(self.axes, core, strict=True))
