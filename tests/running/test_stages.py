"""Runs from start to end with an exact integer network: executors, resuming, first passes, instances."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
import tifffile
import zarr
from scipy import ndimage
from standins import LabelNet

import tiler
from tiler.errors import (
    BlockFailed,
    Interrupted,
    JournalError,
    PlanChangedError,
    PlanError,
    SinkError,
    SourceError,
)
from tiler.jobs.statistics import scaling
from tiler.ports import Capabilities
from tiler.running.journal import Journal
from tiler.testing.predictors import PoolingAxis, PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 250, (5, 61, 53), dtype=np.uint8)
EXECUTORS = ("serial", "threads")


class Recorder:
    """A listener that remembers."""

    def __init__(self, stop_after=None):
        self.blocks, self.stages, self.warnings, self.stop = [], [], [], threading.Event()
        self.stop_after, self.done_before = stop_after, {}

    def stage(self, name):
        self.stages.append(name)

    def started(self, total, done):
        self.done_before[self.stages[-1]] = done

    def finished_block(self, index, voxels):
        self.blocks.append((self.stages[-1], index))
        if self.stop_after is not None and len(self.blocks) >= self.stop_after:
            self.stop.set()

    def warn(self, message):
        self.warnings.append(message)

    def count(self, stage):
        return sum(name == stage for name, _ in self.blocks)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, VOLUME, photometric="minisblack")
    return path


def whole(net=None, volume=VOLUME):
    """All of the volume in one pass, on a canvas made by numpy."""
    net = net or PoolingNet()
    covered = net.footprint.covering((1, *volume.shape[1:]))
    widths = [(axis.low, size - axis.low - length) for axis, size, length in
              zip(net.footprint.axes[1:], covered[1:], volume.shape[1:], strict=True)]
    result = net(np.pad(volume, [(0, 0), *widths], mode="reflect")[None, None])[0, 0]
    start = [axis.low - axis.shrink_low for axis in net.footprint.axes[1:]]
    return result[:, start[0] : start[0] + volume.shape[1], start[1] : start[1] + volume.shape[2]]


def read(path):
    return {".zarr": lambda: zarr.open(path / "0")[:], ".npy": lambda: np.load(path),
            ".tif": lambda: tifffile.imread(path)}[path.suffix]()


@pytest.mark.parametrize(("executor", "batch", "tile", "block"),
                         list(itertools.product(EXECUTORS, (1, 4), ("22", "30"), ("16", "2x40x24"))))
def test_nothing_that_may_be_chosen_changes_the_result(executor, batch, tile, block):
    result = tiler.segment(VOLUME, PoolingNet(), tile=tile, block=block, batch=batch, executor=executor, workers=3)
    np.testing.assert_array_equal(result, whole())


@pytest.mark.parametrize("roi", ["2:4,7:50,3:40", "y=7:50,x=3:40", np.s_[1:5, 0:61, 10:11]])
def test_a_region_equals_the_same_region_of_the_whole(roi):
    result = tiler.segment(VOLUME, PoolingNet(), roi=roi, tile="22", block="16")
    slices = {"2:4,7:50,3:40": np.s_[2:4, 7:50, 3:40], "y=7:50,x=3:40": np.s_[:, 7:50, 3:40]}
    np.testing.assert_array_equal(result, whole()[slices[roi] if isinstance(roi, str) else roi])


@pytest.mark.parametrize("suffix", [".zarr", ".tif", ".npy"])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_outputs_hold_the_result_and_bear_their_name_when_whole(source, tmp_path, suffix, executor):
    net = LabelNet()
    output = tmp_path / f"out{suffix}"
    assert tiler.segment(source, net, output, block="32", executor=executor) == output
    np.testing.assert_array_equal(read(output), whole(net))
    assert not list(tmp_path.glob("*.partial"))
    assert [path.stat().st_size for path in tmp_path.glob("*.lock")] == [0]


def test_an_image_gives_an_image(tmp_path):
    assert tiler.segment(VOLUME[0], PoolingNet()).shape == VOLUME.shape[1:]
    two = tiler.segment(VOLUME[0], PoolingNet(classes=("a", "b")))
    assert two.shape == (2, *VOLUME.shape[1:])


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("after", [1, 7, 19])
def test_a_stopped_run_goes_on_where_it_was(source, tmp_path, executor, after):
    output, first = tmp_path / "out.zarr", Recorder(stop_after=after)
    options = {"tile": "22", "block": "16", "executor": executor}
    with pytest.raises(Interrupted, match="resume="):
        tiler.segment(source, PoolingNet(), output, listener=first, stop=first.stop, **options)
    assert not output.exists()
    again = Recorder()
    tiler.segment(source, PoolingNet(), output, listener=again, resume=True, batch=3, workers=1)
    total = 5 * 4 * 4
    assert after <= first.count("model") < total
    assert first.count("model") + again.count("model") == total
    np.testing.assert_array_equal(read(output), whole())


def test_a_finished_run_says_so_and_computes_nothing(source, tmp_path):
    output, net, heard = tmp_path / "out.zarr", PoolingNet(), Recorder()
    tiler.segment(source, net, output)
    calls = len(net.calls)
    tiler.segment(source, net, output, resume=True, listener=heard)
    assert heard.stages == ["finished"]
    assert len(net.calls) == calls


def test_an_existing_output_is_not_touched_unless_told(source, tmp_path):
    output = tmp_path / "out.zarr"
    tiler.segment(source, PoolingNet(), output)
    with pytest.raises(SinkError, match="overwrite="):
        tiler.segment(source, PoolingNet(), output)
    tiler.segment(source, PoolingNet(padding="same"), output, overwrite=True)
    np.testing.assert_array_equal(read(output), tiler.segment(VOLUME, PoolingNet(padding="same")))
    with pytest.raises(SinkError, match="not both"):
        tiler.segment(source, PoolingNet(), output, overwrite=True, resume=True)


def test_what_tiler_did_not_write_cannot_be_resumed(source, tmp_path):
    output = tmp_path / "out.npy"
    np.save(output, VOLUME)
    with pytest.raises(SinkError, match="no journal"):
        tiler.segment(source, PoolingNet(), output, resume=True)


def interrupt(source, output, **options):
    heard = Recorder(stop_after=3)
    with pytest.raises(Interrupted):
        tiler.segment(source, PoolingNet(), output, listener=heard, stop=heard.stop, block="16", **options)


def test_an_unfinished_run_is_neither_begun_anew_nor_mixed_with_another(source, tmp_path):
    output = tmp_path / "out.zarr"
    interrupt(source, output, tile="22")
    with pytest.raises(SinkError, match="resume=True goes on"):
        tiler.segment(source, PoolingNet(), output)
    with pytest.raises(PlanChangedError, match=r"tile was \[1, 22, 22\], is now \[1, 26, 26\]"):
        tiler.segment(source, PoolingNet(), output, resume=True, tile="26")
    with pytest.raises(PlanChangedError, match=r"model\.padding was valid, is now same"):
        tiler.segment(source, PoolingNet(padding="same"), output, resume=True, border="mirror")
    tifffile.imwrite(source, VOLUME + 1, photometric="minisblack")
    with pytest.raises(PlanChangedError, match="source"):
        tiler.segment(source, PoolingNet(), output, resume=True)
    with pytest.raises(PlanChangedError, match="source was what the finished blocks were computed from"):
        tiler.segment(source, PoolingNet(), output, resume=True, same_input=True)


def test_a_moved_input_is_accepted_when_its_blocks_agree(source, tmp_path):
    output, moved = tmp_path / "out.zarr", tmp_path / "moved.tif"
    interrupt(source, output)
    source.rename(moved)
    tiler.segment(moved, PoolingNet(), output, resume=True, same_input=True)
    np.testing.assert_array_equal(read(output), whole())


def test_verify_finds_damaged_blocks_and_computes_them_again(source, tmp_path):
    output, heard = tmp_path / "out.npy", Recorder()
    interrupt(source, output)
    partial = np.lib.format.open_memmap(tmp_path / "out.npy.partial")
    partial[0, 0, 0] += 1
    partial.flush()
    tiler.segment(source, PoolingNet(), output, resume=True, verify=True, listener=heard)
    assert "1 finished blocks were damaged" in heard.warnings[0]
    np.testing.assert_array_equal(read(output), whole())


def test_a_failing_block_names_itself_and_leaves_the_others_valid(source, tmp_path):
    class Failing(PoolingNet):
        def __call__(self, batch):
            if len(self.calls) == 5:
                raise RuntimeError("device lost")
            return super().__call__(batch)

    output = tmp_path / "out.zarr"
    with pytest.raises(BlockFailed, match=r"10 blocks failed: block \d+ at \[.*\]: device lost; ") as failed:
        tiler.segment(source, Failing(), output, block="16", batch=1, retries=0)
    assert isinstance(failed.value.__cause__, RuntimeError)
    tiler.segment(source, PoolingNet(), output, resume=True)
    np.testing.assert_array_equal(read(output), whole())


@pytest.mark.parametrize("executor", EXECUTORS)
def test_nan_is_refused_or_taken_as_zero(executor):
    holed = VOLUME.astype(np.float32)
    holed[2, 30, 30] = np.nan
    with pytest.raises(BlockFailed, match=r"nan=.zero") as failed:
        tiler.segment(holed, PoolingNet(), executor=executor)
    assert isinstance(failed.value.__cause__, SourceError)
    filled = np.nan_to_num(holed)
    np.testing.assert_array_equal(tiler.segment(holed, PoolingNet(), nan="zero"), whole(volume=filled))


def test_the_output_may_not_be_the_input(source):
    with pytest.raises(SinkError, match="is the input"):
        tiler.segment(source, PoolingNet(), source, overwrite=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_statistics_are_those_of_the_whole_volume_also_for_a_region(dtype, source, tmp_path):
    volume = (VOLUME.astype(np.int16) - 100).astype(dtype) if dtype != np.uint8 else VOLUME
    seen = []

    class Watching(PoolingNet):
        def with_statistics(self, mean, std):
            seen.append((mean, std))
            return self

    tiler.segment(volume, Watching(), normalise="volume", roi="1:2,0:20,0:20")
    (mean,), (std,) = seen[0]
    np.testing.assert_allclose([mean, std], [volume.mean(dtype=float), volume.std(dtype=float)], rtol=1e-6)


@pytest.mark.parametrize(("expected", "warned"), [
    (((125.0,), (72.0,)), False), (((20.0,), (10.0,)), True), (((125.0,), (400.0,)), True), (None, False)])
def test_data_unlike_the_training_data_are_warned_about(expected, warned):
    class Trained(PoolingNet):
        @property
        def expects(self):
            return expected

    heard = Recorder()
    tiler.segment(VOLUME, Trained(), listener=heard)
    assert any("`normalise=volume`" in message for message in heard.warnings) == warned


def test_percentiles_are_refused_where_weights_want_mean_and_deviation():
    class Standardised(PoolingNet):
        capabilities = Capabilities(standardised=True)

    for refusing in (tiler.plan, tiler.segment):
        with pytest.raises(PlanError, match=r"maps percentiles to 0 and 1.*normalise=\"volume\""):
            refusing(VOLUME, Standardised(), normalise="volume:1,99")
    for rule in ("volume", "weights"):
        tiler.plan(VOLUME, Standardised(), normalise=rule)


def test_the_bundled_weights_want_mean_and_deviation():
    assert tiler.open_model("unet", normalise="volume").predictor.capabilities.standardised


def test_percentiles_come_from_the_exact_histogram():
    seen = []

    class Watching(PoolingNet):
        def with_statistics(self, mean, std):
            seen.append((mean[0], std[0]))
            return self

    tiler.segment(VOLUME, Watching(), normalise="volume:1,99")
    low, high = np.percentile(VOLUME, [1, 99])
    assert seen == [(low, high - low)]


def test_block_moments_merge_to_those_of_the_whole():
    values = np.random.default_rng(1).normal(1e6, 1.0, (7, 100))
    records = {i: {"channels": [{"n": 100, "mean": part.mean(), "m2": np.square(part - part.mean()).sum()}]}
               for i, part in enumerate(values)}
    found = scaling("volume", records, np.dtype(np.float64))
    np.testing.assert_allclose([found.mean[0], found.std[0]], [values.mean(), values.std()], rtol=1e-12)


def test_a_first_pass_is_resumed_too(source, tmp_path):
    output, heard = tmp_path / "out.zarr", Recorder(stop_after=2)
    options = {"normalise": "volume", "block": "16"}
    with pytest.raises(Interrupted):
        tiler.segment(source, PoolingNet(), output, listener=heard, stop=heard.stop, **options)
    again = Recorder()
    tiler.segment(source, PoolingNet(), output, resume=True, listener=again)
    journal = Journal.load(tmp_path / "out.zarr.journal")
    assert heard.count("statistics") + again.count("statistics") == len(journal.records("statistics"))
    np.testing.assert_array_equal(read(output), tiler.segment(VOLUME, PoolingNet(), normalise="volume"))


def expected_instances(min_size):
    labels = whole(LabelNet())
    out, offset = np.zeros(labels.shape, np.uint32), 0
    for number, plane in enumerate(labels):
        components, count = ndimage.label(plane)
        kept = 0
        for component in range(1, count + 1):
            mask = components == component
            if mask.sum() >= min_size:
                kept += 1
                out[number][mask] = offset + kept
        offset += kept
    return out


@pytest.mark.parametrize("min_size", [0, 3])
@pytest.mark.parametrize("block", ["8", "24", "64"])
def test_instances_are_components_of_each_slice_whatever_the_block(min_size, block):
    result = tiler.segment(VOLUME, LabelNet(), kind="instances", min_size=min_size, block=block)
    assert result.dtype == np.uint32
    np.testing.assert_array_equal(result, expected_instances(min_size))


def test_instances_are_resumed_block_by_block(source, tmp_path):
    class StopAtThird(Recorder):
        def finished_block(self, index, voxels):
            super().finished_block(index, voxels)
            if self.count("instances") == 3:
                self.stop.set()

    output, heard, again = tmp_path / "out.tif", StopAtThird(), Recorder()
    with pytest.raises(Interrupted):
        tiler.segment(source, LabelNet(), output, kind="instances", block="24", listener=heard, stop=heard.stop)
    tiler.segment(source, LabelNet(), output, resume=True, listener=again)
    assert [again.count(stage) for stage in ("model", "components", "merge")] == [0, 0, 0]
    assert again.done_before["instances"] >= 3
    assert again.done_before["instances"] + again.count("instances") == again.done_before["model"]
    np.testing.assert_array_equal(read(output), expected_instances(0))
    assert {path.name for path in tmp_path.iterdir()} == {"stack.tif", "out.tif", "out.tif.journal",
                                                          "out.tif.lock", "out.tif.tiler.json"}


def test_time_is_folded_for_networks_of_slices_and_refused_for_those_of_volumes():
    movie = np.stack([VOLUME, VOLUME[::-1]])
    result = tiler.segment(movie, PoolingNet(), axes="tzyx")
    np.testing.assert_array_equal(result[0], whole())
    np.testing.assert_array_equal(result[1], whole()[::-1])
    np.testing.assert_array_equal(tiler.segment(movie, PoolingNet(), axes="tzyx", roi="t=1"), whole()[::-1])
    with pytest.raises(PlanError, match=r'2 time points.*roi="t=N"'):
        tiler.segment(movie, PoolingNet((PoolingAxis(),) * 3), axes="tzyx")


def test_check_certifies_a_sound_output_and_finds_one_damaged_block(source, tmp_path):
    output = tmp_path / "out.npy"
    tiler.segment(source, PoolingNet(), output, block="16", tile="30")
    assert tiler.check(output, model=PoolingNet()).sound
    place = tuple(np.random.default_rng(5).integers(0, VOLUME.shape))
    stored = np.lib.format.open_memmap(output)
    stored[place] += 1
    stored.flush()
    report = tiler.check(output, model=PoolingNet())
    assert len(report.damaged) == 1
    assert not report.sound


def test_check_finds_a_wrong_context(source, tmp_path):
    class TooLittle(PoolingNet):
        """Says that it needs one stride less before its core."""

        @property
        def footprint(self):
            import dataclasses

            right = super().footprint
            return dataclasses.replace(right, low=(0, *(low - 4 for low in right.low[1:])),
                                       high=(0, *(high + 4 for high in right.high[1:])))

    output = tmp_path / "out.npy"
    net = {"padding": "same"}
    tiler.segment(source, TooLittle(**net), output, block="16", tile="36", border="mirror")
    report = tiler.check(output, model=PoolingNet(**net))
    assert not report.damaged
    assert report.wrong
    right = tmp_path / "right.npy"
    tiler.segment(source, PoolingNet(**net), right, block="16", tile="36", border="mirror")
    assert tiler.check(right, model=PoolingNet(**net)).sound


def test_check_needs_a_journal(source, tmp_path):
    with pytest.raises(JournalError, match="no journal"):
        tiler.check(source)
    with pytest.raises(SinkError, match="does not exist"):
        tiler.check(tmp_path / "none.zarr")


def test_unknown_choices_are_named():
    for options, option in [({"kind": "masks"}, "kind"), ({"nan": "keep"}, "nan"),
                            ({"border": "wrap"}, "border"), ({"executor": "celery"}, "executor"),
                            ({"tile": "big"}, "tile"),
                            ({"memory": "lots"}, "memory"), ({"batch": 0}, "batch"), ({"roi": "1"}, "roi")]:
        with pytest.raises(PlanError, match=f"{option}="):
            tiler.segment(VOLUME, PoolingNet(), **options)


def test_a_run_that_is_stopped_before_its_first_block_promises_nothing(tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match="before the first block: nothing is kept"):
        tiler.segment(np.zeros((2, 32, 32), "u1"), PoolingNet(), tmp_path / "out.zarr", stop=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["out.zarr.lock"]
