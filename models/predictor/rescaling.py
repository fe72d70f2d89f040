"""A network that sees its input at another voxel size, while its result stays in the grid of the input.

::

    voxels of the input     |     0     |     1     |     2     |     3     |      factor 3/2: three voxels of the
    voxels of the network   |   0   |   1   |   2   |   3   |   4   |   5   |      network for two of the input

Voxel j of the network covers the input from ``j / factor`` to ``(j + 1) / factor``, counted from the first voxel of
the volume. Its value is a cubic convolution of the input (Keys 1981, a = -1/2), which is widened where the network's
voxels are the larger ones, so that nothing aliases. Results return by linear interpolation, widened likewise, and thus
stay probabilities.

Both kernels are finite and a factor is a fraction p/q. The whole is therefore a network with a somewhat larger context
that repeats exactly every few voxels, and everything that holds for exact tiles holds for it: tiles, blocks, regions
and canvases cannot be seen in the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch

from tiler.errors import ModelError
from tiler.geometry import Footprint, Reach, Shape
from tiler.models.predictor.averaging import Forward, Orientations

Factors = tuple[Fraction, Fraction, Fraction]
Voxel = tuple[float | None, float, float]

CUBIC, LINEAR = 2, 1
"""Radii of the kernels in voxels of the coarser grid."""
LARGEST = 8
"""Largest factor, and the inverse of the smallest one."""
CLOSE = 0.03
"""Relative error of a fraction that stands for a factor."""


def simple_fraction(factor: float) -> Fraction:
    """The fraction of the smallest denominator that is within 3 % of a factor; 10 / 4.1 gives 5/2.

    Raises
    ------
    ModelError
        If the factor is too large or too small to be sensible.
    """
    if not 1 / LARGEST <= factor <= LARGEST:
        raise ModelError(f"voxels are rescaled by 1/{LARGEST} to {LARGEST}, not by {factor:.3g}: resample "
                         "the volume beforehand", option="rescale")
    for denominator in range(1, 10 * LARGEST * LARGEST):
        numerator = max(1, round(factor * denominator))
        if abs(numerator / denominator / factor - 1) <= CLOSE:
            return Fraction(numerator, denominator)
    raise AssertionError(factor)


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a rescaled network.

    Parameters
    ----------
    plain
        Reach of the network, in its own voxels.
    factor
        Voxels of the network for one voxel of the input.
    """

    plain: Reach
    factor: Fraction

    @property
    def period(self) -> int:
        """Voxels of the input after which the network's strides and the input's voxels begin together again."""
        # factor 5/2, stride 16: 2 * 16 / gcd(5, 16) = 32 voxels of the input are 80 of the network.
        return self.factor.denominator * self.plain.stride // math.gcd(self.factor.numerator, self.plain.stride)

    @property
    def before(self) -> int:
        """Voxels of the network that are skipped at the start of a tile, which is not in the network's phase."""
        return -self.plain.low % self.plain.stride

    @property
    def after(self) -> int:
        """The same at the end."""
        return -self.plain.high % self.plain.stride

    @property
    def reach(self) -> Reach:
        """Reach of the whole, in voxels of the input."""
        if self.factor == 1:
            return self.plain
        low, high = self._context(self.plain.low, self.before), self._context(self.plain.high, self.after)
        if self.plain.shrink_low == self.plain.shrink_high == 0:
            if self.before or self.after:
                raise ModelError("the network keeps its size, and its context is not a whole number of strides: it "
                                 "cannot be rescaled, resample the volume beforehand", option="rescale")
            return Reach(low, high, 0, 0, self.period)
        return Reach(low, high, low, high, self.period)

    def size(self, tile: int) -> int:
        """Size of the network's input for a tile of the input."""
        return tile if self.factor == 1 else int(tile * self.factor) - self.before - self.after

    def _context(self, context: int, skipped: int) -> int:
        """Voxels of the input that are not exact at one end, rounded up to a whole period."""
        stride, factor = self.plain.stride, self.factor
        # The first voxel of the network whose kernel does not leave the tile; kernels that do are cut off.
        whole = factor * (CUBIC * max(Fraction(1), 1 / factor) - Fraction(1, 2)) - Fraction(1, 2)
        lost = max(0, math.ceil((whole - skipped) / stride)) * stride
        first = skipped + lost + context
        back = (first - Fraction(1, 2) + LINEAR * max(Fraction(1), factor)) / factor - Fraction(1, 2)
        return math.ceil(back / self.period) * self.period


@dataclass(frozen=True)
class Rescaled:
    """`Orientations` that see the input at another voxel size.

    Parameters
    ----------
    inner
        The orientations of the network on its own voxels.
    factors
        Along (z, y, x): voxels of the network for one voxel of the input.
    """

    inner: Orientations
    factors: Factors

    @property
    def identity(self) -> Mapping[str, str]:
        return {**self.inner.identity, "rescale": " x ".join(map(str, self.factors))}

    @property
    def plain(self) -> Footprint:
        return self.inner.plain

    @property
    def count(self) -> int:
        return self.inner.count

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        return tuple(Axis(reach, factor) for reach, factor in
                     zip(self.inner.footprint.axes, self.factors, strict=True))

    @cached_property
    def footprint(self) -> Footprint:
        return Footprint.of([axis.reach for axis in self.axes])

    def check(self, tile: Shape) -> None:
        """Accept every tile."""

    def network_size(self, tile: Shape) -> Shape:
        return self.inner.network_size(tuple(axis.size(side) for axis, side in zip(self.axes, tile, strict=True)))

    def mean(self, forward: Forward, x: torch.Tensor) -> torch.Tensor:
        places = [(place, axis) for place, axis in zip((-3, -2, -1), self.axes, strict=True) if axis.factor != 1]
        sizes = [x.shape[place] for place, _ in places]
        for place, axis in places:
            x = _along(place, x, _to_network(axis, x.shape[place]))
        values = self.inner.mean(forward, x)
        for (place, axis), size in zip(places, sizes, strict=True):
            values = _along(place, values, _to_input(axis, size))
        return values


def _along(place: int, x: torch.Tensor, weights: npt.NDArray[np.float64]) -> torch.Tensor:
    """``x`` with one axis replaced by weighted sums of its voxels; ``weights`` are ``(new, old)``."""
    matrix = torch.from_numpy(weights).to(x.device, x.dtype)
    return (x.movedim(place, -1) @ matrix.T).movedim(-1, place).contiguous()


@lru_cache(maxsize=64)
def _to_network(axis: Axis, tile: int) -> npt.NDArray[np.float64]:
    """``(network, tile)``: weights of a tile's voxels in each voxel of the network's input."""
    voxels = np.arange(axis.before, axis.before + axis.size(tile))
    return _weights(voxels, float(axis.factor), CUBIC, range(tile))


@lru_cache(maxsize=64)
def _to_input(axis: Axis, tile: int) -> npt.NDArray[np.float64]:
    """``(output, network)``: weights of the network's results in each voxel of the tile's output."""
    reach, first = axis.reach, axis.before + axis.plain.shrink_low
    size = axis.size(tile) - axis.plain.shrink_low - axis.plain.shrink_high
    voxels = np.arange(reach.shrink_low, tile - reach.shrink_high)
    return _weights(voxels, 1 / float(axis.factor), LINEAR, range(first, first + size))


def _weights(voxels: npt.NDArray[np.intp], factor: float, radius: int, old: range) -> npt.NDArray[np.float64]:
    """``(voxels, old)``: weights of old voxels in new ones, of which there are ``factor`` for one old voxel.

    Kernels that leave the old voxels take the outermost one instead.
    """
    width = max(1.0, 1 / factor)
    middles = (voxels + 0.5) / factor - 0.5
    offsets = np.arange(-math.ceil(radius * width), math.ceil(radius * width) + 1)
    taken = np.floor(middles).astype(np.intp)[:, None] + offsets
    values = (_cubic if radius == CUBIC else _linear)((taken - middles[:, None]) / width)
    values /= values.sum(1, keepdims=True)
    weights = np.zeros((len(voxels), len(old)))
    columns = np.clip(taken, old.start, old.stop - 1) - old.start
    np.add.at(weights, (np.arange(len(voxels))[:, None], columns), values)
    return weights


def _cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys's kernel: 1 at 0, 0 at every other whole number and beyond 2."""
    x = np.abs(distance)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _linear(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.maximum(0.0, 1 - np.abs(distance))


def factors_of(given: Sequence[float] | str, found: Voxel | None, wanted: Voxel | None, flat: bool) -> Factors:
    """Factors along (z, y, x) for a network.

    Parameters
    ----------
    given
        The factors, or "auto" for those that make the input's voxels as large as those of the training data.
    found, wanted
        ``(z, y, x)`` of these two kinds of voxels in nanometres; None if unknown.
    flat
        Whether slices are independent of each other, so that z stays as it is.

    Raises
    ------
    ModelError
        If "auto" lacks one of the sizes, or the factors do not suit the network.
    """
    z, y, x = map(simple_fraction, _between(found, wanted, flat) if isinstance(given, str) else given)
    if flat and z != 1:
        raise ModelError("the network takes slices, whose spacing does not matter to it: rescale y and x, and not z "
                         f"by {z}", option="rescale")
    return z, y, x


def _between(found: Voxel | None, wanted: Voxel | None, flat: bool) -> Sequence[float]:
    if wanted is None:
        raise ModelError("the weights do not state the voxel size that they were trained on: give the factor itself",
                         option="rescale")
    if found is None:
        raise ModelError("the size of the input's voxels is not known: give the factor itself, their size divided by "
                         "that of the weights' voxels", option="rescale")
    z, y, x = (ours / theirs if ours and theirs else 1.0 for ours, theirs in zip(found, wanted, strict=True))
    return (1.0 if flat else z, y, x)
