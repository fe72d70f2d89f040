"""Networks with global layers: passes over whole inputs come first, and no choice changes what they find."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

import tiler
from tiler.errors import GeometryError, Interrupted, MemoryBudgetError, PlanChangedError, PlanError
from tiler.geometry import Box, Reach
from tiler.jobs import reduce as reduction
from tiler.ports import Known, Reduction
from tiler.running.journal import Journal, journal_path
from tiler.testing.global_predictors import GatedNet, PassesConformance
from tiler.testing.predictors import PoolingAxis, PredictorConformance

VOLUME = np.random.default_rng(0).integers(0, 250, (3, 45, 53), dtype=np.uint8)
SLICES = GatedNet()


class TestGatedNet(PassesConformance):
    def predictor(self):
        return SLICES


class TestGatedNetAsAnyPredictor(PredictorConformance):
    def predictor(self):
        whole = np.zeros((1, 1, 8, 8), np.uint8)
        return SLICES.with_totals(((SLICES.reduce(0, whole, Box.of_shape((1, 8, 8)), ()),),))


def whole(net, volume, border):
    """Every input in one piece, on a canvas made by numpy: first what all its cells say, then the network."""
    axes = net.footprint.axes
    low = [axis.low if border == "mirror" else 0 for axis in axes]
    after = [-size % axis.stride + (axis.high if border == "mirror" else 0)
             for size, axis in zip(volume.shape, axes, strict=True)]
    canvas = np.pad(volume, list(zip(low, after, strict=True)), mode="reflect")
    inputs = canvas[:, None] if net.of_slices else canvas[None]
    core = Box.between(low, [a + -(-size // axis.stride) * axis.stride
                             for a, size, axis in zip(low, volume.shape, axes, strict=True)])
    if net.of_slices:
        core = replace(core, spans=(Box.of_shape((1,)).spans[0], *core.spans[1:]))
    results = []
    for image in inputs:
        told = net
        while len(told.totals) < net.levels:
            told = told.with_totals((*told.totals, (told.reduce(0, image[None], core, told.totals),)))
        results.append(told(image[None, None])[0, 0])
    inside = tuple(slice(a, a + size) for a, size in zip(low, volume.shape, strict=True))
    return np.concatenate(results)[inside]


@dataclass(frozen=True)
class Case:
    net: GatedNet
    volume: np.ndarray
    border: str
    tile: tuple[int, ...]
    block: tuple[int, ...]
    roi: tuple[slice, ...]


@st.composite
def cases(draw):
    axis = st.builds(PoolingAxis, *[st.integers(0, 2)] * 2, st.integers(0, 3), st.integers(1, 4))
    net = GatedNet((draw(st.none() | axis), draw(axis), draw(axis)), levels=draw(st.integers(1, 2)))
    shape = [draw(st.integers(1, top)) for top in (3 if net.of_slices else 8, 20, 20)]
    volume = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 250, shape)
    least = [max(a.smallest, b.smallest) for a, b in
             zip(net.footprint.axes, net.reductions[0][0].footprint.axes, strict=True)]
    tile = [size + draw(st.integers(0, 3)) * a.stride if a.smallest > 1 else size
            for size, a in zip(least, net.footprint.axes, strict=True)]
    block = tuple(draw(st.integers(1, 20)) for _ in range(3))
    starts = [draw(st.integers(0, size - 1)) for size in shape]
    roi = tuple(slice(a, draw(st.integers(a + 1, size))) for a, size in zip(starts, shape, strict=True))
    return Case(net, volume, draw(st.sampled_from(["zero", "mirror"])), tuple(tile), block, roi)


def run(case, **options):
    return tiler.segment(case.volume, case.net, axes="zyx", border=case.border, tile=case.tile, block=case.block,
                         executor="serial", **options)


@settings(deadline=None, max_examples=25)
@given(cases())
def test_tiled_is_whole_also_in_a_region(case):
    expected = whole(case.net, case.volume, case.border)
    np.testing.assert_array_equal(run(case), expected)
    np.testing.assert_array_equal(run(case, roi=case.roi), expected[case.roi])


def test_small_blocks_of_the_first_pass_change_nothing(monkeypatch):
    case = Case(SLICES, VOLUME, "zero", (1, 28, 28), (2, 16, 16), ())
    monkeypatch.setattr("tiler.planning.reduction_grid.BLOCK_VOXELS", 1)
    np.testing.assert_array_equal(run(case), whole(SLICES, VOLUME, "zero"))


def test_what_one_tile_says_is_not_what_all_say(monkeypatch):
    case = Case(SLICES, VOLUME, "zero", (1, 28, 28), (1, 45, 53), ())
    plain = reduction.ReductionJob._partials

    def of_first_tile(self, orientation, window):
        return plain(self, orientation, replace(window, tiles=window.tiles[:1]))

    monkeypatch.setattr(reduction.ReductionJob, "_partials", of_first_tile)
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(run(case), whole(SLICES, VOLUME, "zero"))


def test_context_counts_once(monkeypatch):
    """Cells of the context are not part of a tile's core."""
    case = Case(SLICES, VOLUME, "zero", (1, 28, 28), (1, 45, 53), ())
    monkeypatch.setattr(GatedNet, "reduce", lambda self, o, tile, core, totals, plain=GatedNet.reduce: plain(
        self, o, tile, Box.of_shape(tile.shape[1:]), totals))
    assert not np.array_equal(run(case), whole(SLICES, VOLUME, "zero"))


class Recorder:
    def __init__(self, stop_after=None):
        import threading

        self.blocks, self.stages, self.stop, self.stop_after = [], [], threading.Event(), stop_after

    def stage(self, name):
        self.stages.append(name)

    def started(self, total, done): ...

    def finished_block(self, index, voxels):
        self.blocks.append((self.stages[-1], index))
        if self.stop_after == len(self.blocks):
            self.stop.set()

    def warn(self, message): ...

    def count(self, stage):
        return sum(name == stage for name, _ in self.blocks)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, VOLUME, photometric="minisblack")
    return path


NESTED = GatedNet(levels=2)
OPTIONS = {"tile": "28", "block": "1x32x32", "executor": "serial"}


@pytest.mark.parametrize("after", [1, 8])
def test_a_run_stopped_in_a_first_pass_goes_on_there(source, tmp_path, monkeypatch, after):
    monkeypatch.setattr("tiler.planning.reduction_grid.BLOCK_VOXELS", 1500)
    straight, broken = tmp_path / "straight.npy", tmp_path / "broken.npy"
    tiler.segment(source, NESTED, straight, **OPTIONS)
    first, again = Recorder(after), Recorder()
    with pytest.raises(Interrupted):
        tiler.segment(source, NESTED, broken, listener=first, stop=first.stop, **OPTIONS)
    total = len(Journal.load(journal_path(straight)).records("pass 1"))
    assert len(Journal.load(journal_path(broken)).records("pass 1")) == min(after, total)
    tiler.segment(source, NESTED, broken, resume=True, listener=again)
    for stage in ("pass 1", "pass 2"):
        assert first.count(stage) + again.count(stage) == total
        records = [Journal.load(journal_path(path)).records(stage) for path in (straight, broken)]
        assert records[0] == records[1]
    np.testing.assert_array_equal(np.load(straight), np.load(broken))
    np.testing.assert_array_equal(np.load(straight), whole(NESTED, VOLUME, "zero"))


def test_another_input_is_noticed_before_the_last_pass(source, tmp_path, monkeypatch):
    monkeypatch.setattr("tiler.planning.reduction_grid.BLOCK_VOXELS", 1000)
    heard, output = Recorder(2), tmp_path / "out.npy"
    with pytest.raises(Interrupted):
        tiler.segment(source, NESTED, output, listener=heard, stop=heard.stop, **OPTIONS)
    moved = tmp_path / "moved.tif"
    tifffile.imwrite(moved, VOLUME + 1, photometric="minisblack")
    with pytest.raises(PlanChangedError, match="source"):
        tiler.segment(moved, NESTED, output, resume=True, same_input=True)
    tifffile.imwrite(moved, VOLUME, photometric="minisblack")
    tiler.segment(moved, NESTED, output, resume=True, same_input=True)
    np.testing.assert_array_equal(np.load(output), whole(NESTED, VOLUME, "zero"))


def test_the_plan_counts_all_passes():
    nested, plain = (tiler.plan(VOLUME, net, tile="28", block="16") for net in (NESTED, replace(NESTED, levels=0)))
    assert (nested.estimate.passes, plain.estimate.passes) == (3, 1)
    assert nested.estimate.flops > plain.estimate.flops
    assert nested.estimate.bytes_read > plain.estimate.bytes_read
    assert nested.estimate.bytes_decoded > plain.estimate.bytes_decoded
    assert nested.estimate.redundant > plain.estimate.redundant
    assert nested.fingerprint != plain.fingerprint
    other = tiler.plan(VOLUME, NESTED)
    assert type(other).from_json(other.to_json()) == other


def test_memory_is_that_of_the_greediest_pass():
    class Greedy(GatedNet):
        def reduction_cost(self, level, tile):
            return replace(super().reduction_cost(level, tile), bytes=10**12)

    with pytest.raises(MemoryBudgetError):
        tiler.plan(VOLUME, Greedy())


class Far(GatedNet):
    """Its first pass needs more context than its last one."""

    @property
    def reductions(self):
        ((only,),) = super().reductions
        wide = Reach(24, 24, 0, 0, 4)
        return ((replace(only, footprint=type(only.footprint).of([only.footprint.axes[0], wide, wide])),),)


def test_tiles_leave_a_core_in_every_pass():
    volume = np.tile(VOLUME[:1], (1, 2, 2))
    assert tiler.plan(volume, Far(), tile="52").fingerprint != tiler.plan(volume, SLICES, tile="52").fingerprint
    assert min(tiler.plan(volume, Far()).tile[1:]) >= 52
    with pytest.raises(GeometryError, match=r"no core for the passes.*smallest legal tile is 52"):
        tiler.plan(volume, Far(), tile="28")
    with pytest.raises(GeometryError, match="one slice at a time"):
        tiler.plan(VOLUME, SLICES, tile="2x28x28")
    np.testing.assert_array_equal(tiler.segment(volume, Far(), tile="60"), whole(SLICES, volume, "zero"))


def test_check_covers_all_passes(source, tmp_path, monkeypatch):
    output = tmp_path / "out.npy"
    tiler.segment(source, NESTED, output, **OPTIONS)
    report = tiler.check(output, model=NESTED)
    assert report.sound
    assert report.passes == 4
    assert report.passes_worst == 0

    class TooLittle(GatedNet):
        """Its first pass has no context."""

        @property
        def reductions(self):
            alone = Reach(0, 0, 0, 0, 4)
            footprint = type(self.footprint).of([self.footprint.axes[0], alone, alone])
            return ((Reduction(footprint, (0, 0, 0)),),)

    tiler.segment(source, TooLittle(), output, overwrite=True, **OPTIONS)
    report = tiler.check(output, model=TooLittle())
    assert not report.sound
    assert any("of pass 1" in where for where in report.wrong)


def test_a_lazy_result_cannot_wait():
    with pytest.raises(PlanError, match="global layers"):
        tiler.lazy(VOLUME, SLICES)


def test_nothing_is_known_of_an_input_before_the_first_pass():
    from tiler.geometry import Tile

    assert Known({}, True).of(Tile(*[Box.of_shape((1, 4, 4))] * 3)) == ()
