"""Context that a model needs around its output: on one axis (`Reach`) and on all axes (`Footprint`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiler.errors import GeometryError
from tiler.geometry.boxes import Shape


@dataclass(frozen=True, slots=True)
class Reach:
    """A footprint on one axis, in voxels.

    Parameters
    ----------
    low, high, shrink_low, shrink_high, stride
        See `Footprint`.

    Raises
    ------
    GeometryError
        The stride is below 1, or the context is smaller than the shrink.
    """

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
        """Smallest legal tile, whose core is one stride: 92 + 96 + 16 = 204 for the valid U-Net of depth 4."""
        return self.low + self.high + self.stride

    def core(self, tile: int) -> int:
        """Length of the part of a tile that may be written, 0 if none."""
        # (572 - 92 - 96) // 16 * 16 = 384
        return max(0, (tile - self.low - self.high) // self.stride * self.stride)

    def admits(self, tile: int) -> bool:
        """Whether a tile is legal: it has a core, and no pooling floors or ceils."""
        return tile >= self.smallest and self.in_phase(tile)

    def in_phase(self, size: int) -> bool:
        """Whether no pooling floors or ceils at this input size."""
        return (size - self.low - self.high) % self.stride == 0

    def covering(self, core: int) -> int:
        """Return the smallest legal tile whose core has at least this many voxels."""
        # core 385: 92 + 96 + ceil(385 / 16) * 16 = 588
        return self.low + self.high + max(1, -(-core // self.stride)) * self.stride

    def nearest(self, tile: int) -> tuple[int, int]:
        """Return the legal tiles at or below and at or above this size; the smallest one if none is below."""
        below = max(self.smallest, self.low + self.high + self.core(tile))
        return below, (below if below >= tile else below + self.stride)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Context, shrink and stride of a model, in voxels along the axes (z, y, x).

    The numbers in brackets are those of the valid U-Net of depth 4.

    Parameters
    ----------
    low, high
        Context before and after a stride-aligned core (92 and 96).
    shrink_low, shrink_high
        Voxels that the model drops at either end (92 and 92); 0 for same padding.
    stride
        Shift under which the model repeats exactly, its total pooling (16).

    Raises
    ------
    GeometryError
        A stride is below 1, or a context is smaller than its shrink.

    Notes
    -----
    Legal tiles are congruent to ``low + high`` modulo the stride. The probe, which finds footprints, rounds ``high``
    so that no pooling floors or ceils at these sizes: 572 = 92 + 96 + 24 * 16.
    """

    low: Shape
    high: Shape
    shrink_low: Shape
    shrink_high: Shape
    stride: Shape

    def __post_init__(self) -> None:
        _ = self.axes  # each Reach checks its numbers

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
        """Whether slices along z are independent of each other, as in a 2-D network."""
        return self.axes[0].smallest == 1

    @property
    def keeps_size(self) -> bool:
        """Whether the output is as large as the input."""
        return not any(self.shrink_low) and not any(self.shrink_high)

    def core(self, tile: Shape) -> Shape:
        """Return the shape of the part of a tile that may be written (572 gives 384)."""
        return tuple(axis.core(size) for axis, size in zip(self.axes, tile, strict=True))

    def output(self, tile: Shape) -> Shape:
        """Return the shape of the model's output for a tile (572 gives 388)."""
        return tuple(size - axis.shrink_low - axis.shrink_high for axis, size in zip(self.axes, tile, strict=True))

    def admits(self, tile: Shape) -> bool:
        """Whether a tile is legal: no pooling floors or ceils and it has a core (572 yes, 570 and 188 no)."""
        return all(axis.admits(size) for axis, size in zip(self.axes, tile, strict=True))

    def nearest(self, tile: Shape) -> tuple[Shape, Shape]:
        """Return the legal tiles at or below and at or above this shape, axis by axis."""
        pairs = [axis.nearest(size) for axis, size in zip(self.axes, tile, strict=True)]
        return tuple(below for below, _ in pairs), tuple(above for _, above in pairs)

    def covering(self, core: Shape) -> Shape:
        """Return the smallest legal tile whose core holds this shape."""
        return tuple(axis.covering(size) for axis, size in zip(self.axes, core, strict=True))
