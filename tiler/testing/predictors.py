"""Predictors for tests: exact in integers, and as sensitive to phase and context as a real network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from tiler.errors import GeometryError
from tiler.geometry import Box, Footprint, Reach, Shape, Span
from tiler.ports import Array, Border, Capabilities, Cost, Json

MODULUS = 251


@dataclass(frozen=True, slots=True)
class PoolingAxis:
    """Layers of `PoolingNet` along one axis: filter, max-pool, filter, repeat, filter.

    Parameters
    ----------
    before, between, after
        Radii of the three filters in voxels; the middle one works on the pooled grid.
    stride
        Stride of the pooling.
    """

    before: int = 1
    between: int = 1
    after: int = 1
    stride: int = 4

    def reach(self, padding: str) -> Reach:
        """Return the footprint, derived by hand and independent of the probe."""
        inner = self.between * self.stride + self.before
        if padding == "valid":
            # Cells begin at -after (mod stride), so the last filter reaches into one cell more above.
            cells = -(-(self.stride + 2 * self.after) // self.stride)
            low = inner + self.after
            return Reach(low, inner - self.after + (cells - 1) * self.stride, low, low, self.stride)
        context = -(-(inner + -(-self.after // self.stride) * self.stride) // self.stride) * self.stride
        return Reach(context, context, 0, 0, self.stride)


@dataclass(frozen=True)
class PoolingNet:
    """A small pooling network in exact integer arithmetic, a `tiler.ports.Predictor`.

    Every filter is asymmetric and works modulo 251, so a tile that is off by one voxel, a wrong context or a wrong
    phase changes the result, and results can be compared for equality.

    Parameters
    ----------
    axes
        Layers along z, y and x; None leaves an axis unchanged.
    padding
        "valid", or "same" (zeros, as in networks).
    """

    axes: tuple[PoolingAxis | None, PoolingAxis | None, PoolingAxis | None] = (None, PoolingAxis(), PoolingAxis())
    padding: Literal["valid", "same"] = "valid"
    classes: tuple[str, ...] = ("cell",)
    in_channels: int = 1
    scale: tuple[float, float] = (0.0, 1.0)
    calls: list[int] = field(default_factory=list, compare=False)

    @property
    def footprint(self) -> Footprint:
        alone = Reach(0, 0, 0, 0, 1)
        return Footprint.of([alone if axis is None else axis.reach(self.padding) for axis in self.axes])

    @property
    def border(self) -> Border:
        return "mirror" if self.padding == "valid" else "zero"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int64)

    @property
    def identity(self) -> Json:
        return {"name": "pooling", "axes": repr(self.axes), "padding": self.padding, "scale": list(self.scale)}

    @property
    def expects(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        return None

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def with_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> PoolingNet:
        return replace(self, scale=(mean[0], std[0]))

    def cost(self, tile: Shape, batch: int) -> Cost:
        voxels = float(np.prod(tile))
        return Cost(100 * voxels, int(32 * voxels * batch))

    def __call__(self, batch: Array) -> Array:
        self.calls.append(len(batch))
        values = np.rint((batch - self.scale[0]) / self.scale[1]).astype(np.int64).sum(axis=1, keepdims=True)
        for number, axis in enumerate(self.axes, start=2):
            if axis is not None:
                values = _pool_and_filter(np.moveaxis(values, number, -1), axis, self.padding)
                values = np.moveaxis(values, -1, number)
        return np.concatenate([(values + k) % MODULUS for k in range(len(self.classes))], axis=1)


def _pool_and_filter(x: Array, axis: PoolingAxis, padding: str) -> Array:
    skip = x
    x = filtered(x, axis.before, padding)
    if x.shape[-1] % axis.stride:
        raise GeometryError(f"{x.shape[-1]} voxels do not survive a pooling by {axis.stride}")
    x = x.reshape(*x.shape[:-1], -1, axis.stride).max(axis=-1)
    x = np.repeat(filtered(x, axis.between, padding), axis.stride, axis=-1)
    cut = (skip.shape[-1] - x.shape[-1]) // 2
    return filtered(x + skip[..., cut : cut + x.shape[-1]], axis.after, padding)


def filtered(x: Array, radius: int, padding: str) -> Array:
    if padding == "same":
        x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(radius, radius)])
    weights = np.arange(1, 2 * radius + 2) ** 2 + 1
    windows = np.lib.stride_tricks.sliding_window_view(x, 2 * radius + 1, axis=-1)
    result: Array = windows @ weights % MODULUS
    return result


class PredictorConformance:
    """Tests for every `tiler.ports.Predictor`; subclass it and define ``predictor``."""

    def predictor(self) -> Any:
        raise NotImplementedError

    def _batch(self, tile: Shape, n: int = 2) -> Array:
        shape = (n, self.predictor().in_channels, *tile)
        return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)

    def test_output_has_the_shape_that_the_footprint_says(self) -> None:
        net = self.predictor()
        tile = net.footprint.smallest
        out = net(self._batch(tile))
        assert out.shape == (2, len(net.classes), *net.footprint.output(tile))
        assert out.dtype == net.dtype

    def test_a_tile_does_not_know_its_batch(self) -> None:
        net = self.predictor()
        batch = self._batch(net.footprint.smallest, 3)
        together = net(batch)
        for one, tile in zip(together, batch, strict=True):
            np.testing.assert_array_equal(net(tile[None])[0], one)

    def test_a_crop_is_what_the_whole_output_holds_there(self) -> None:
        net = self.predictor()
        crops = net.capabilities.crops
        if crops is None:
            return
        batch = self._batch(net.footprint.smallest)
        whole = net(batch)
        crop = Box(tuple(Span(size // 2, size // 2 + 1) for size in whole.shape[2:]))
        wanted = whole[(slice(None), slice(None), *crop.slices)]
        np.testing.assert_allclose(crops.cropped(batch, crop), wanted, rtol=0, atol=1e-5)

    def test_it_says_what_it_can_do(self) -> None:
        can = self.predictor().capabilities
        assert isinstance(can, Capabilities)
        assert can.feeders >= 1
        assert not can.blended or can.soft is not None
        assert can.tiled == (not can.untiled)

    def test_pickling_keeps_result_and_identity(self) -> None:
        import pickle

        net = self.predictor()
        again = pickle.loads(pickle.dumps(net))
        batch = self._batch(net.footprint.smallest)
        np.testing.assert_array_equal(again(batch), net(batch))
        assert again.identity == net.identity

    def test_identity_is_json(self) -> None:
        import json

        net = self.predictor()
        assert json.loads(json.dumps(net.identity)) == json.loads(json.dumps(net.identity))

    def test_cost_grows_with_the_tile(self) -> None:
        net = self.predictor()
        small = net.footprint.smallest
        large = net.footprint.covering(tuple(2 * axis.stride for axis in net.footprint.axes))
        assert net.cost(large, 1).flops >= net.cost(small, 1).flops > 0
        assert net.cost(large, 1).bytes >= net.cost(small, 1).bytes > 0
