"""Networks that cannot be tiled: windows that are blended, and inputs in one piece."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

import tiler
from tiler.errors import GeometryError, Interrupted, MemoryBudgetError, PlanError
from tiler.geometry import Box, Footprint, Reach, Span
from tiler.planning.blend_windows import BlendedAxis, Lattice, Windows
from tiler.ports import Capabilities, Cost

VOLUME = np.random.default_rng(0).integers(0, 250, (2, 57, 70), dtype=np.uint8)


@dataclass(frozen=True)
class Relative:
    """Two channels: what it sees, and what it sees as a share of the brightest of its input."""

    tiling: str = "blend"
    kind: str = "probabilities"
    stride: int = 4
    border: str = "zero"
    in_channels: int = 1
    expects: None = None
    untiled: str = "norm (Brightest): divides by the largest of its whole input"
    channels: int = 2
    bytes_per_voxel: int = 16

    @property
    def classes(self):
        return ("seen", "share") if self.kind == "probabilities" else ("labels",)

    @property
    def footprint(self):
        return Footprint.of([Reach(0, 0, 0, 0, 1), *[Reach(0, 0, 0, 0, self.stride)] * 2])

    @property
    def dtype(self):
        return np.dtype(np.float64 if self.kind == "probabilities" else np.uint8)

    @property
    def identity(self):
        return {"name": "relative", "kind": self.kind, "precision": "float64"}

    @property
    def capabilities(self):
        return Capabilities(meaning=self.kind, tiling=self.tiling, untiled=self.untiled, soft=self)

    def cost(self, tile, batch):
        return Cost(100.0 * np.prod(tile), int(self.bytes_per_voxel * np.prod(tile) * batch))

    def with_statistics(self, mean, std):
        return self

    def soft(self, batch):
        assert batch.shape[2] == 1
        return np.concatenate([batch / 250, batch / batch.max(axis=(2, 3, 4), keepdims=True)], axis=1)

    def written(self, values):
        return values if self.kind == "probabilities" else (values[1:] > values[:1] + 0.1).astype(np.uint8)

    def __call__(self, batch):
        return self.written(np.moveaxis(self.soft(batch), 1, 0)).swapaxes(0, 1)


class Recorder:
    def __init__(self, stop_after=None):
        self.warnings, self.blocks, self.stop, self.stop_after = [], 0, threading.Event(), stop_after

    def stage(self, name): ...
    def started(self, total, done): ...
    def warn(self, message):
        self.warnings.append(message)

    def finished_block(self, index, voxels):
        self.blocks += 1
        if self.blocks == self.stop_after:
            self.stop.set()


def blended(net, volume, tile):
    """All windows of every slice over the whole canvas at once: weights and sums by the definition."""
    out = []
    for plane in volume:
        sides = [-(-size // net.stride) * net.stride for size in plane.shape]
        after = [(0, full - size) for full, size in zip(sides, plane.shape, strict=True)]
        canvas = np.pad(plane, after, mode="reflect")
        total, weight = np.zeros((2, *sides)), np.zeros(sides)
        hop = max(net.stride, tile // 2 // net.stride * net.stride)
        starts = [[*range(0, full - tile, hop), full - tile] if full > tile else [0] for full in sides]
        for y, x in itertools.product(*starts):
            part = np.s_[y : y + min(tile, sides[0]), x : x + min(tile, sides[1])]
            height, width = canvas[part].shape
            hats = [np.minimum(np.arange(n) + 1, n - np.arange(n)) for n in (height, width)]
            hat = hats[0][:, None] * hats[1]
            total[(slice(None), *part)] += hat * net.soft(canvas[part][None, None, None])[0, :, 0]
            weight[part] += hat
        out.append((total / weight)[:, : plane.shape[0], : plane.shape[1]])
    return np.stack(out, axis=1)


@pytest.mark.parametrize("tile", [8, 20, 32, 60])
def test_a_blended_result_is_the_weighted_mean_of_its_windows(tile):
    found = tiler.segment(VOLUME, Relative(), tile=tile)
    np.testing.assert_allclose(found, blended(Relative(), VOLUME, tile), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("executor", "batch", "block"), list(itertools.product(
    ("serial", "threads"), (1, 3), ("16", "2x24x40", "60"))))
def test_blocks_leave_no_trace(executor, batch, block):
    expected = tiler.segment(VOLUME, Relative(), tile=20, block=100)
    found = tiler.segment(VOLUME, Relative(), tile=20, block=block, batch=batch, executor=executor)
    np.testing.assert_array_equal(found, expected)
    region = tiler.segment(VOLUME, Relative(), tile=20, block=block, roi="1:2,13:50,7:31")
    np.testing.assert_array_equal(region, expected[:, 1:2, 13:50, 7:31])


@examples(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 30), st.data())
def test_weights_of_all_windows_are_one(stride, length, extra, data):
    tile, start = stride * length, data.draw(st.integers(-9, 9))
    canvas = Span(start, start + tile + stride * extra)
    lattice = Lattice(canvas, tile, stride, data.draw(st.sampled_from([0, stride, 3 * stride])))
    assert lattice.starts[0] == canvas.start
    assert lattice.starts[-1] == canvas.stop - tile
    assert all((place - canvas.start) % stride == 0 for place in lattice.starts)
    assert all(b - a <= max(lattice.hop, 1) for a, b in itertools.pairwise(lattice.starts))
    total = np.zeros(canvas.size)
    for window in lattice.windows(canvas):
        share = lattice.share(window, window)
        assert share.min() > 0
        total[window.shift(-canvas.start).slice] += share
    np.testing.assert_allclose(total, 1, rtol=1e-12)
    block = Span(canvas.start + canvas.size // 3, canvas.stop)
    layout = BlendedAxis(tile, Reach(0, 0, 0, 0, stride), canvas, canvas.stop, 1)
    reads = [piece.read.spans[0] for piece in layout.tiles(block)]
    hull = Span(min(read.start for read in reads), max(read.stop for read in reads))
    assert layout.reads(block) == (len(reads), hull)
    assert hull.size <= layout.window(block.size)


def test_shifted_windows_lie_elsewhere():
    canvas = Box.of_shape((1, 96, 96))
    plain, moved = (Windows.on(canvas, (1, 32, 32), (1, 4, 4), shifted) for shifted in (False, True))
    assert not plain.movable
    assert moved.movable
    assert plain.axes[1].starts == [0, 16, 32, 48, 64]
    assert moved.axes[1].starts == [0, 8, 24, 40, 56, 64]
    assert not Windows.on(canvas, (1, 96, 96), (1, 4, 4)).blended


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, VOLUME, photometric="minisblack")
    return path


def test_it_says_that_it_is_an_approximation(source, tmp_path):
    output, heard = tmp_path / "out.zarr", Recorder()
    plan = tiler.plan(source, Relative(), tile=20)
    assert plan.tiling == "blend"
    assert plan.provenance()["tiling"] == "blend"
    assert type(plan).from_json(plan.to_json()) == plan
    tiler.segment(source, Relative(), output, tile=20, listener=heard)
    (warning,) = heard.warnings
    assert "blended from windows of 1x20x20, an approximation, since norm (Brightest)" in warning
    note = zarr.open(output).attrs["tiler"]["approximation"]
    assert note["says"] == warning
    assert 0 < note["seams"]["mean"] < note["seams"]["worst"] < 1
    report = tiler.check(output, model=Relative())
    assert report.sound
    assert report.worst == 0
    assert report.seams.worst > 0


@pytest.mark.parametrize("kind", ["probabilities", "labels"])
def test_the_error_is_measured_where_something_is_segmented(tmp_path, kind):
    """Windows over a constant agree wherever they lie, and the zeros outside the mask are no error."""
    tissue = np.zeros((1, 57, 70), np.uint8)
    tissue[:, 10:50, 8:30] = 1
    for name, values in (("x.npy", np.full((1, 57, 70), 200, np.uint8)), ("m.npy", tissue)):
        np.save(tmp_path / name, values)
    tiler.segment(tmp_path / "x.npy", Relative(kind=kind), tmp_path / "out.zarr", tile=20, block=32, kind=kind,
                  mask=tmp_path / "m.npy")
    seams = zarr.open(tmp_path / "out.zarr").attrs["tiler"]["approximation"]["seams"]
    assert seams["samples"] > 0
    assert seams["worst"] < 1e-12
    assert tiler.check(tmp_path / "out.zarr", model=Relative(kind=kind), windows=2).seams.worst < 1e-12


def test_an_error_that_cannot_be_measured_is_not_denied():
    heard = Recorder()
    tiler.segment(VOLUME, Relative(), tile=20, mask=np.zeros_like(VOLUME), listener=heard)
    assert not any("nothing was blended" in warning for warning in heard.warnings)
    assert any("its error was not measured" in warning for warning in heard.warnings)


def test_one_window_over_everything_is_no_approximation():
    heard = Recorder()
    volume = VOLUME[:, :32, :32]
    found = tiler.segment(volume, Relative(), tile=32, listener=heard)
    np.testing.assert_allclose(found[:, 0], Relative().soft(volume[None, None, :1])[0, :, 0], atol=1e-15)
    assert "nothing was blended" in heard.warnings[0]


def test_small_windows_are_compared_with_larger_ones(source, tmp_path):
    tiler.segment(source, Relative(), tmp_path / "out.npy", tile=4)
    assert tiler.check(tmp_path / "out.npy", model=Relative()).seams.worst > 0


@pytest.mark.parametrize("kind", ["labels", "instances"])
def test_scores_are_blended_before_they_become_labels(source, tmp_path, kind):
    net, output = Relative(kind="labels"), tmp_path / "out.npy"
    tiler.segment(source, net, output, tile=20, kind=kind)
    expected = net.written(blended(net, VOLUME, 20))[0]
    np.testing.assert_array_equal(np.load(output) > 0, expected > 0)


def test_a_stopped_run_goes_on(source, tmp_path):
    output, first, again = tmp_path / "out.npy", Recorder(3), Recorder()
    with pytest.raises(Interrupted):
        tiler.segment(source, Relative(), output, tile=20, block="24", listener=first, stop=first.stop)
    tiler.segment(source, Relative(), output, resume=True, listener=again)
    assert first.blocks + again.blocks == 2 * 3 * 3
    np.testing.assert_array_equal(np.load(output), tiler.segment(VOLUME, Relative(), tile=20))


def test_what_is_damaged_is_found(source, tmp_path):
    output = tmp_path / "out.npy"
    tiler.segment(source, Relative(), output, tile=20)

    class Other(Relative):
        def soft(self, batch):
            return super().soft(batch) * 0.99

    report = tiler.check(output, model=Other())
    assert report.wrong
    assert not report.sound


def test_plans_count_windows_and_refuse_what_makes_no_sense():
    plan = tiler.plan(VOLUME, Relative(), tile=20, block="2x57x70")
    assert plan.estimate.tiles == 2 * 6 * 8
    assert plan.estimate.flops == 2 * 6 * 8 * 100 * 400
    assert plan.fingerprint != tiler.plan(VOLUME, Relative(tiling="exact"), tile=20, block="2x57x70").fingerprint
    for tiling in ("blend", "whole"):
        with pytest.raises(PlanError, match=r"border=.zero"):
            tiler.plan(VOLUME, Relative(tiling=tiling), border="mirror")
    with pytest.raises(PlanError, match=r"tiling=.whole"):
        tiler.lazy(VOLUME, Relative())


WHOLE = Relative(tiling="whole")


def test_an_input_in_one_piece():
    canvas = np.pad(VOLUME, [(0, 0), (0, 3), (0, 2)], mode="reflect")
    expected = np.stack([WHOLE.soft(plane[None, None, None])[0, :, 0] for plane in canvas], axis=1)[..., :57, :70]
    np.testing.assert_array_equal(tiler.segment(VOLUME, WHOLE), expected)
    np.testing.assert_array_equal(tiler.segment(VOLUME, WHOLE, roi="1:2,5:50,9:30"), expected[:, 1:2, 5:50, 9:30])
    plan = tiler.plan(VOLUME, WHOLE)
    assert (plan.tile, plan.block) == ((1, 60, 72), (1, 57, 70))
    assert plan.estimate.tiles == 2
    assert plan.estimate.redundant == 0


def test_an_input_in_one_piece_is_never_cut():
    for option in ({"tile": 32}, {"block": 16}):
        with pytest.raises(GeometryError, match="in one piece"):
            tiler.plan(VOLUME, WHOLE, **option)
    greedy = replace(WHOLE, bytes_per_voxel=10**9)
    with pytest.raises(MemoryBudgetError, match=r"an input in one piece of 1x60x72 .* needs 43\d\d\d\d\d MB.*resize="):
        tiler.plan(VOLUME, greedy)


def test_one_piece_is_resumed_and_checked(source, tmp_path):
    output, first = tmp_path / "out.npy", Recorder(1)
    with pytest.raises(Interrupted):
        tiler.segment(source, WHOLE, output, listener=first, stop=first.stop, executor="serial")
    tiler.segment(source, WHOLE, output, resume=True)
    report = tiler.check(output, model=WHOLE)
    assert report.sound
    assert report.seams is None
