"""A predictor with global layers for tests, and the conformance suite for all such predictors."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tiler.geometry import Box, Footprint, Reach, Shape
from tiler.ports import Array, Capabilities, Cost, Partial, Reduction, Totals
from tiler.testing.predictors import MODULUS, PoolingAxis, PoolingNet, filtered


@dataclass(frozen=True)
class GatedNet(PoolingNet):
    """A `PoolingNet` that adds statistics of its whole input to its output, in exact integers.

    The input is filtered and max-pooled as in the first layer. The first pass takes the sum and the maximum of the
    resulting cells; each further pass takes those of the cells shifted by the result of the pass before.

    Parameters
    ----------
    levels
        Number of passes before the last one.
    totals
        Results of these passes.
    """

    padding: Any = "same"
    levels: int = 1
    totals: Totals = ()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(passes=self)

    @property
    def reductions(self) -> tuple[tuple[Reduction, ...], ...]:
        axes = [Reach(0, 0, 0, 0, 1) if axis is None else _cell_reach(axis) for axis in self.axes]
        return ((Reduction(Footprint.of(axes), (0, 0, 0)),),) * self.levels

    @property
    def of_slices(self) -> bool:
        return self.axes[0] is None

    def reduction_cost(self, level: int, tile: Shape) -> Cost:
        return Cost(10.0 * float(np.prod(tile)), int(16 * np.prod(tile)))

    def with_totals(self, totals: Totals) -> GatedNet:
        return replace(self, totals=totals)

    def reduce(self, orientation: int, tile: Array, core: Box, totals: Totals) -> Partial:
        cells = tile.astype(np.int64).sum(axis=0)
        for number, axis in enumerate(self.axes):
            if axis is not None:
                cells = np.moveaxis(cells, number, -1)
                cells = filtered(cells, axis.before, "same")
                cells = cells.reshape(*cells.shape[:-1], -1, axis.stride).max(axis=-1)
                cells = np.moveaxis(cells, -1, number)
        strides = [1 if axis is None else axis.stride for axis in self.axes]
        inside = tuple(slice(span.start // step, -(-span.stop // step)) for span, step in
                       zip(core.spans, strides, strict=True))
        shifted = (cells[inside] * 3 + self._found(totals)) % MODULUS
        return Partial(np.array([float(shifted.sum()), float(shifted.size)]), np.array([float(shifted.max())]))

    def _found(self, totals: Totals) -> int:
        """Combine the results of the passes into one number."""
        found = [total[0] for total in totals]
        return int(sum(part.sums[0] + 7 * part.sums[1] + 11 * part.maxima[0] for part in found)) % MODULUS

    def __call__(self, batch: Array) -> Array:
        assert len(self.totals) == self.levels, "the passes before the last one come first"
        result: Array = (super().__call__(batch) + self._found(self.totals)) % MODULUS
        return result


def _cell_reach(axis: PoolingAxis) -> Reach:
    context = -(-axis.before // axis.stride) * axis.stride
    return Reach(context, context, 0, 0, axis.stride)


class PassesConformance:
    """Tests for every predictor with `tiler.ports.Passes`; subclass it and define ``predictor``."""

    def predictor(self) -> Any:
        raise NotImplementedError

    def _tile(self, sides: int = 2) -> tuple[Array, Footprint]:
        """Return a tile whose core has ``sides`` strides on each axis, and the footprint of the first pass."""
        net = self.predictor()
        footprint = net.capabilities.passes.reductions[0][0].footprint
        least = [max(reach.smallest, own.smallest) for reach, own in
                 zip(footprint.axes, net.footprint.axes, strict=True)]
        tile = [size + (sides - 1) * reach.stride if reach.smallest > 1 else size
                for size, reach in zip(least, footprint.axes, strict=True)]
        return np.random.default_rng(0).integers(0, 255, (net.in_channels, *tile), dtype=np.uint8), footprint

    def _core(self, tile: Array, footprint: Footprint) -> Box:
        return Box.between(footprint.low, [low + core for low, core in
                                           zip(footprint.low, footprint.core(tile.shape[1:]), strict=True)])

    def test_tiles_of_the_last_pass_serve_the_first_ones(self) -> None:
        net = self.predictor()
        reductions = net.capabilities.passes.reductions
        for each in (reduction.footprint for orientations in reductions for reduction in orientations):
            assert each.stride == net.footprint.stride
            for own, last in zip(each.axes, net.footprint.axes, strict=True):
                assert own.in_phase(last.smallest)

    def test_parts_add_up_to_the_whole(self) -> None:
        passes = self.predictor().capabilities.passes
        tile, footprint = self._tile()
        core = self._core(tile, footprint)
        middle = core.start[-1] + footprint.stride[-1]
        left = Box.between(core.start, (*core.stop[:-1], middle))
        right = Box.between((*core.start[:-1], middle), core.stop)
        whole, *halves = (passes.reduce(0, tile, box, ()) for box in (core, left, right))
        parts = halves[0] + halves[1]
        np.testing.assert_allclose(parts.sums, whole.sums, rtol=1e-6)
        np.testing.assert_array_equal(parts.maxima, whole.maxima)
        assert whole.sums.dtype == whole.maxima.dtype == np.float64

    def test_a_pickled_copy_finds_the_same_and_knows_what_it_was_told(self) -> None:
        net = self.predictor()
        tile, footprint = self._tile()
        passes, core = net.capabilities.passes, self._core(tile, footprint)
        found = passes.reduce(0, tile, core, ())
        again = pickle.loads(pickle.dumps(net)).capabilities.passes.reduce(0, tile, core, ())
        np.testing.assert_array_equal(found.sums, again.sums)
        told = passes.with_totals(((found,) * len(passes.reductions[0]),) * len(passes.reductions))
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(told))(tile[None]), told(tile[None]))

    def test_what_it_is_told_changes_its_result_and_not_its_identity(self) -> None:
        net = self.predictor()
        tile, footprint = self._tile()
        passes, core = net.capabilities.passes, self._core(tile, footprint)
        found = passes.reduce(0, tile, core, ())
        orientations, levels = len(passes.reductions[0]), len(passes.reductions)
        other = Partial(found.sums * 2 + 1, found.maxima + 1)
        told, misled = (passes.with_totals(((part,) * orientations,) * levels) for part in (found, other))
        assert told.identity == net.identity
        batch = tile[None]
        assert not np.array_equal(told(batch), misled(batch))

    def test_a_pass_costs_something(self) -> None:
        passes = self.predictor().capabilities.passes
        tile, _ = self._tile()
        assert passes.reduction_cost(0, tile.shape[1:]).flops > 0
        assert passes.reduction_cost(0, tile.shape[1:]).bytes > 0
