"""Index maps: which input indices an output index of an operator needs along one axis, in exact arithmetic.

A map takes a closed range of output indices *back* to the range of input indices that it needs. Ranges are not clipped
to the tensor, and index 0 is always its first element. A map that depends on the size of its input (a centre crop
that moves, a grid that stretches) thus differs between two sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Window: output ``o`` needs input ``o * stride - before`` and the ``span`` elements after it.

    This describes convolutions and poolings and, with a span of 0, crops (``before`` is negative), padding and strided
    slices. A 3x3 convolution with padding 1 has stride 1, before 1, span 2: output 5 needs inputs 4 to 6.
    """

    stride: int = 1
    before: int = 0
    span: int = 0

    @property
    def pace(self) -> Fraction:
        """Number of input steps for one output step."""
        return Fraction(self.stride)

    def back(self, low: int, high: int) -> Range | None:
        return low * self.stride - self.before, high * self.stride - self.before + self.span


@dataclass(frozen=True, slots=True)
class Spread:
    """Transposed convolution: input ``i`` reaches output ``i * stride - before + dilation * t`` for each tap t."""

    stride: int
    before: int
    dilation: int
    taps: int

    @property
    def pace(self) -> Fraction:
        return Fraction(1, self.stride)

    def back(self, low: int, high: int) -> Range | None:
        # The pattern repeats with the stride, so its extremes are within one stride of either end.
        near = range(low, min(high, low + self.stride) + 1)
        far = range(max(low, high - self.stride), high + 1)
        lows = [min(sources) for sources in map(self._sources, near) if sources]
        highs = [max(sources) for sources in map(self._sources, far) if sources]
        return (min(lows), max(highs)) if lows and highs else None

    def _sources(self, output: int) -> list[int]:
        at = output + self.before
        first = -((self.dilation * (self.taps - 1) - at) // self.stride)
        return [i for i in range(first, at // self.stride + 1) if (at - i * self.stride) % self.dilation == 0]


@dataclass(frozen=True, slots=True)
class Resample:
    """Interpolation: output ``o`` lies at input ``o * ratio + shift`` and needs its floor and some neighbours.

    The neighbour above is needed even if its weight is 0, because torch still multiplies it.
    """

    ratio: Fraction
    shift: Fraction = Fraction(0)
    before: int = 0
    after: int = 0

    @property
    def pace(self) -> Fraction:
        return self.ratio

    def back(self, low: int, high: int) -> Range | None:
        return (math.floor(low * self.ratio + self.shift) - self.before,
                math.floor(high * self.ratio + self.shift) + self.after)


@dataclass(frozen=True, slots=True)
class Whole:
    """Every output needs the whole axis, so no context is large enough."""

    @property
    def pace(self) -> Fraction:
        return Fraction(1)


SAME = Window()
WHOLE = Whole()
Map = Window | Spread | Resample | Whole
