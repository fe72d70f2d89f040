"""The law: the output is a function of the image and the model alone.

The oracle shares nothing with the engine: numpy pads the whole volume, the network sees it in one piece.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.errors import TilerError
from tiler.geometry import Box, Grid, Reach, Span, canvas_of, hull, tiles_of
from tiler.geometry import tiles as geometry
from tiler.jobs import read_mirrored as mirror
from tiler.jobs.read_mirrored import read_mirrored
from tiler.jobs.segment import Window, predict_window
from tiler.sources import open_source
from tiler.testing.predictors import PoolingAxis, PoolingNet

RADIUS = st.integers(0, 2)
AXIS = st.builds(PoolingAxis, RADIUS, RADIUS, st.integers(0, 3), st.integers(1, 4))
EXAMPLES = settings(deadline=None, max_examples=120)


@dataclass(frozen=True)
class Case:
    """A network, a volume from one voxel up, and one way to run it."""

    net: PoolingNet
    volume: np.ndarray
    tile: tuple[int, ...]
    block: tuple[int, ...]
    region: Box
    batch: int
    canvas: Box | None = None


@st.composite
def cases(draw, padding):
    dims = draw(st.integers(1, 3))
    net = PoolingNet((None,) * (3 - dims) + tuple(draw(AXIS) for _ in range(dims)), padding)
    shape = (1,) * (3 - dims) + tuple(draw(st.integers(1, 24 if dims < 3 else 9)) for _ in range(dims))
    volume = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 250, (1, *shape))
    tile = net.footprint.covering(tuple(draw(st.integers(1, 12)) for _ in range(3)))
    block = tuple(draw(st.integers(1, 24)) for _ in range(3))
    starts = [draw(st.integers(0, size - 1)) for size in shape]
    region = Box.between(starts, [draw(st.integers(a + 1, size)) for a, size in zip(starts, shape, strict=True)])
    return Case(net, volume, tile, block, region, draw(st.integers(1, 5)))


def one_pass(case):
    """The network on all of the canvas at once, made by numpy."""
    shape, axes = case.volume.shape[1:], case.net.footprint.axes
    if case.canvas:
        widths = [(0, full - size) for full, size in zip(case.canvas.shape, shape, strict=True)]
    else:
        # Rounded up to a legal size at the far end.
        covered = case.net.footprint.covering(shape)
        widths = [(axis.low, whole - axis.low - size)
                  for axis, whole, size in zip(axes, covered, shape, strict=True)]
    result = case.net(np.pad(case.volume, [(0, 0), *widths], mode="reflect")[None])[0]
    start = [0 if case.canvas else axis.low - axis.shrink_low for axis in axes]
    inside = Box.of_shape(shape).shift(start)
    return result[(slice(None), *inside.slices)][(slice(None), *case.region.slices)]


def tiled(case):
    """The engine, block by block."""
    source = open_source(case.volume, axes="czyx")
    tile = tuple(map(min, case.tile, case.canvas.shape)) if case.canvas else case.tile
    out = np.full((1, *case.region.shape), -1)
    for box in Grid(case.region, case.block):
        tiles = tiles_of(box, tile, case.net.footprint, case.canvas)
        reads = hull([t.read for t in tiles])
        window = Window(tiles, reads.start, read_mirrored(source, reads))
        out[(slice(None), *box.back(case.region.start).slices)] = predict_window(window, box, case.net, case.batch)
    return out


def zero_canvas(case):
    spans = Box.of_shape(case.volume.shape[1:]).spans
    return replace(case, canvas=Box(tuple(map(canvas_of, spans, case.net.footprint.axes))))


@EXAMPLES
@given(cases("valid"))
def test_valid_padding_on_a_mirrored_canvas(case):
    np.testing.assert_array_equal(tiled(case), one_pass(case))


@EXAMPLES
@given(cases("same"))
def test_same_padding_on_a_mirrored_canvas(case):
    np.testing.assert_array_equal(tiled(case), one_pass(case))


@EXAMPLES
@given(cases("same"))
def test_same_padding_with_a_zero_border(case):
    np.testing.assert_array_equal(tiled(zero_canvas(case)), one_pass(zero_canvas(case)))


def mutate_crop(monkeypatch):
    """The crop is off by one."""
    plain = geometry._pieces
    monkeypatch.setattr(geometry, "_pieces", lambda *args: (
        replace(piece, crop=piece.crop.shift(1 if piece.crop.start == 0 else -1)) for piece in plain(*args)))


def mutate_step(monkeypatch):
    """Tiles step by the output size of the network instead of whole strides."""
    monkeypatch.setattr(Reach, "core", lambda self, tile: tile - self.shrink_low - self.shrink_high)


def mutate_high(monkeypatch):
    """The context above is what the network drops there: 92 instead of 96."""
    plain = PoolingAxis.reach
    monkeypatch.setattr(PoolingAxis, "reach", lambda self, padding: replace(
        plain(self, padding), high=plain(self, padding).shrink_high))


def mutate_low(monkeypatch):
    """One stride of context too little below."""
    plain = geometry._pieces
    monkeypatch.setattr(geometry, "_pieces", lambda block, tile, reach, canvas: plain(
        block, tile, replace(reach, low=max(reach.shrink_low, reach.low - reach.stride)), canvas))


def mutate_origin(monkeypatch):
    """Tiles are laid from the block's start, not from the stride grid of the volume."""
    plain = geometry._pieces
    monkeypatch.setattr(geometry, "_pieces", lambda block, tile, reach, canvas: (
        replace(p, read=p.read.shift(block.start % reach.stride), write=p.write, crop=p.crop.shift(0))
        for p in plain(block, tile, reach, canvas)))


def mutate_mirror(monkeypatch):
    """The faces are repeated: numpy's "symmetric" instead of "reflect"."""

    def symmetric(span: Span, size: int) -> np.ndarray:
        phase = np.arange(span.start, span.stop) % (2 * size)
        return np.minimum(phase, 2 * size - 1 - phase)

    monkeypatch.setattr(mirror, "mirrored_indices", symmetric)


VALID = Case(PoolingNet(), np.random.default_rng(0).integers(0, 250, (1, 1, 41, 37)), (1, 34, 30), (1, 30, 27),
             Box.between((0, 3, 2), (1, 41, 33)), 2)
SAME = replace(VALID, net=PoolingNet(padding="same"), tile=(1, 36, 36))


def test_the_cases_of_the_mutations_are_sound():
    np.testing.assert_array_equal(tiled(VALID), one_pass(VALID))
    np.testing.assert_array_equal(tiled(SAME), one_pass(SAME))
    np.testing.assert_array_equal(tiled(zero_canvas(SAME)), one_pass(zero_canvas(SAME)))


@pytest.mark.parametrize("mutate", [mutate_crop, mutate_step, mutate_high, mutate_origin, mutate_mirror])
def test_mutations_of_the_geometry_are_caught_with_valid_padding(mutate, monkeypatch):
    _assert_caught(VALID, mutate, monkeypatch)


@pytest.mark.parametrize("mutate", [mutate_crop, mutate_low, mutate_origin, mutate_mirror])
def test_mutations_of_the_geometry_are_caught_with_same_padding(mutate, monkeypatch):
    _assert_caught(SAME, mutate, monkeypatch)


@pytest.mark.parametrize("mutate", [mutate_crop, mutate_low, mutate_origin, mutate_mirror])
def test_mutations_of_the_geometry_are_caught_with_a_zero_border(mutate, monkeypatch):
    _assert_caught(zero_canvas(SAME), mutate, monkeypatch)


def _assert_caught(case, mutate, monkeypatch):
    expected, core = one_pass(case), case.net.footprint.core(case.tile)
    mutate(monkeypatch)
    try:
        # The tile that a plan would choose for that core, with the mutated footprint.
        found = tiled(replace(case, tile=case.net.footprint.covering(core)))
    except (TilerError, ValueError):
        return  # refused is caught as well
    assert not np.array_equal(found, expected)
