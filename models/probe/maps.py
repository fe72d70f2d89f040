"""Which input indices one output index of an operator needs, on one axis; exact integers and fractions.

A map sends a closed range of output indices *back* to the range of input indices that it needs. Ranges are
not clipped to the tensor: index 0 is its first element whatever the size, so that a map which depends on
the size of its input (a centre crop that moves, a grid that stretches) shows as a different map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Output ``o`` needs ``o * stride - before`` and the ``span`` elements that follow it.

    Convolutions and poolings, and with a span of 0: crops (``before`` negative), padding, strided slices.
    """

    stride: int = 1
    before: int = 0
    span: int = 0

    @property
    def pace(self) -> Fraction:
        """Input steps for one output step."""
        return Fraction(self.stride)

    def back(self, low: int, high: int) -> Range | None:
        return low * self.stride - self.before, high * self.stride - self.before + self.span


@dataclass(frozen=True, slots=True)
class Spread:
    """A transposed convolution: input ``i`` reaches ``i * stride - before + dilation * t`` for every tap t."""

    stride: int
    before: int
    dilation: int
    taps: int

    @property
    def pace(self) -> Fraction:
        return Fraction(1, self.stride)

    def back(self, low: int, high: int) -> Range | None:
        # The pattern repeats with the stride, so its extremes lie within one stride of either end.
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
    """Interpolation: output ``o`` lies at ``o * ratio + shift`` and needs its floor with some neighbours.

    The neighbour above is needed even where its weight is 0, since torch multiplies it all the same.
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
    """Every output needs the whole axis: no context is enough."""

    @property
    def pace(self) -> Fraction:
        return Fraction(1)


SAME = Window()
WHOLE = Whole()
Map = Window | Spread | Resample | Whole
