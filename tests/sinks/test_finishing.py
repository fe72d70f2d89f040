"""Work after the last block (levels, compression, conversion) reports its pieces, and can be stopped and repeated."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from standins import LabelNet

import tiler
from tiler.errors import Interrupted, SinkError
from tiler.geometry import Box
from tiler.ports import Calibration, OutputSpec
from tiler.running.perform import Silent
from tiler.sinks import open_finished, open_sink, partial_path
from tiler.testing.sinks import ATTRIBUTES, EXAMPLES, Counting, Stopped, written

SIZES = (2, 1100, 80)
SPEC = OutputSpec((1, *SIZES), np.dtype("uint8"), Calibration.plain("zyx", SIZES), ("cell",), False, (2, 256, 80),
                  (1, 128, 80))
# What is made of it: its two coarser levels of 550 and 275 rows, and the bands or chunks of a file.
OUTPUTS = {"out.zarr": (SPEC, 2 * (5 + 3)), "old.zarr": (replace(SPEC, ngff="0.4"), 2 * (5 + 3)),
           "shards.zarr": (replace(SPEC, shard=(2, 256, 80)), 3 + 2),
           "out.ome.tif": (SPEC, 2 * 3), "out.h5": (SPEC, 2 * 9), "out.npy": (SPEC, 0), "out.tif": (SPEC, 0)}


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_piece_is_told(name, tmp_path):
    spec, pieces = OUTPUTS[name]
    sink, _ = written(lambda spec: open_sink(tmp_path / name, spec), spec)
    watch = Counting()
    sink.finish(ATTRIBUTES, watch)
    assert (watch.pieces, watch.total) == (pieces, pieces)
    coarser = 2 * 80 * (550 / 2 + 275 / 4)  # x is halved, too
    whole = SPEC.shape[1] * SPEC.shape[2] * SPEC.shape[3]
    assert watch.voxels == (pieces and (coarser if name.endswith(".zarr") else whole))


@pytest.mark.parametrize("name", ["out.zarr", "shards.zarr", "out.ome.tif", "out.h5"])
def test_work_that_was_stopped_between_two_pieces_is_begun_again(name, tmp_path):
    spec, pieces = OUTPUTS[name]
    sink, values = written(lambda spec: open_sink(tmp_path / name, spec), spec)
    for after in (1, pieces - 1):
        with pytest.raises(Stopped):
            sink.finish(ATTRIBUTES, Counting(after))
        assert not (tmp_path / name).exists()
        np.testing.assert_array_equal(sink.read(Box.of_shape(SIZES)), values)
    open_sink(tmp_path / name, spec).finish(ATTRIBUTES)
    assert not partial_path(tmp_path / name).exists()
    np.testing.assert_array_equal(open_sink(tmp_path / name, spec).read(Box.of_shape(SIZES)), values)


def test_levels_of_large_planes_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("tiler.sinks.ome_tiff.LARGE_PLANE", 1000)
    sink, _ = written(lambda spec: open_sink(tmp_path / "a.ome.tif", spec), SPEC)
    watch = Counting()
    sink.finish(ATTRIBUTES, watch)
    assert watch.pieces == watch.total == 2 * (5 + 3) + 2 * (3 + 2 + 1)  # the levels, and the bands of all pages


def test_nothing_is_told_again_of_what_is_finished(tmp_path):
    sink, _ = written(lambda spec: open_sink(tmp_path / "out.h5", spec), EXAMPLES["a stack"])
    sink.finish(ATTRIBUTES)
    watch = Counting()
    sink.finish(ATTRIBUTES, watch)
    assert watch.total == watch.pieces == 0


class Listening(Silent):
    """Stops a run once it has got to finishing and made a piece of it."""

    def __init__(self):
        self.stages, self.told, self.stop = [], [], threading.Event()

    def stage(self, name):
        self.stages.append(name)

    def started(self, total, done):
        self.told.append((self.stages[-1], total))

    def finished_block(self, index, voxels):
        if self.stages[-1] == "finish":
            self.told.append(index)
            self.stop.set()


@pytest.mark.parametrize("name", ["out.zarr", "out.ome.tif", "out.h5"])
def test_a_run_is_stopped_while_it_finishes_and_resumed(name, tmp_path):
    volume = np.random.default_rng(0).integers(0, 250, (2, 600, 40), dtype=np.uint8)
    np.save(tmp_path / "volume.npy", volume)
    call = (tmp_path / "volume.npy", LabelNet(), tmp_path / name)
    listener = Listening()
    with pytest.raises(Interrupted, match="finished blocks were put together; the same command with resume="):
        tiler.segment(*call, tile="62", block="1x200x40", listener=listener, stop=listener.stop)
    (stage, total), first = listener.told[-2:]
    assert (stage, first) == ("finish", 0)
    assert total > 1
    assert not (tmp_path / name).exists()
    again = Listening()
    tiler.segment(*call, resume=True, listener=again)
    assert again.stages == ["model", "finish"]
    assert open_finished(tmp_path / name)["kind"] == "labels"
    found = tiler.open_volume(tmp_path / name)
    expected = tiler.segment(volume, LabelNet(), tile="62")
    np.testing.assert_array_equal(found.read(Box.of_shape(found.shape[1:]))[0], expected)


LEVELS = 2 * (1100 * 80 + 550 * 40 + 275 * 20)


@pytest.mark.parametrize(("name", "kind", "output", "temporary"), [
    ("out.zarr", "labels", LEVELS, 0), ("out.zarr", "instances", 4 * LEVELS, LEVELS),
    ("out.ome.tif", "labels", 2 * 1100 * 80, 2 * 1100 * 80), ("out.tif", "labels", 2 * 1100 * 80, 0),
    ("out.h5", "instances", 4 * 2 * 1100 * 80, (4 * 2 * 1100 * 80) + LEVELS), ("out.npy", "labels", 2 * 1100 * 80, 0)])
def test_a_plan_tells_what_its_output_takes_of_the_disk(name, kind, output, temporary, tmp_path):
    plan = tiler.plan(np.zeros(SIZES, np.uint8), LabelNet(), tmp_path / name, kind=kind)
    assert (plan.estimate.disk_bytes, plan.estimate.temporary_bytes) == (output, temporary)
    assert plan.fingerprint == tiler.plan(np.zeros(SIZES, np.uint8), LabelNet(), kind=kind).fingerprint
    assert not list(tmp_path.iterdir())


class Warned(Silent):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


@pytest.mark.parametrize(("name", "needed"), [("out.npy", 176_000), ("out.tif", 176_000), ("out.zarr", LEVELS),
                                              ("out.h5", 2 * 176_000)])
def test_a_disk_that_may_not_hold_the_output(name, needed, tmp_path, monkeypatch):
    call = (np.zeros(SIZES, np.uint8), LabelNet(), tmp_path / name)
    monkeypatch.setattr("tiler.running.output.free_disk", lambda output: needed - 1)
    listener = Warned()
    if name in ("out.npy", "out.tif"):
        with pytest.raises(SinkError, match=r"takes 1 MB, 0 MB are free: choose another disk or a compressed format"):
            tiler.segment(*call, kind="labels", listener=listener)
        assert not list(tmp_path.iterdir())
    else:
        tiler.segment(*call, kind="labels", listener=listener)
        (warning,) = listener.warnings
        assert "takes up to 1 MB while it is made" in warning
    monkeypatch.setattr("tiler.running.output.free_disk", lambda output: needed)
    listener = Warned()
    tiler.segment(*call, kind="labels", overwrite=True, listener=listener)
    assert listener.warnings == []


class Impatient(Listening):
    """Stops a run after its first block."""

    def finished_block(self, index, voxels):
        self.stop.set()


@pytest.mark.parametrize(("name", "needed"), [("out.npy", 176_000), ("out.zarr", LEVELS)])
def test_what_an_older_run_left_counts_as_free(name, needed, tmp_path, monkeypatch):
    """It gives back what it had taken, but only to a run that fits."""
    call, stopped = (np.zeros(SIZES, np.uint8), LabelNet(), tmp_path / name), Impatient()
    with pytest.raises(Interrupted):
        tiler.segment(*call, kind="instances", tile="62", block="1x200x80", listener=stopped, stop=stopped.stop)
    before = sorted(tmp_path.rglob("*"))
    assert {f"{name}.partial", f"{name}.stage.zarr.partial"} <= {path.name for path in tmp_path.iterdir()}
    taken = sum(path.stat().st_blocks * 512 for path in before if path.is_file() and path.suffix != ".journal")
    listener = Warned()
    if name == "out.npy":
        monkeypatch.setattr("tiler.running.output.free_disk", lambda output: needed - taken - 1)
        with pytest.raises(SinkError, match="takes 1 MB, 0 MB are free"):
            tiler.segment(*call, kind="labels", overwrite=True)
        assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.setattr("tiler.running.output.free_disk", lambda output: needed - taken)
    stages = []
    listener.stage = lambda name: stages.append(list(tmp_path.glob("*.stage.zarr*")))
    tiler.segment(*call, kind="labels", overwrite=True, listener=listener)
    assert listener.warnings == []
    assert stages
    assert not any(stages)


def test_what_only_has_a_similar_name_stays(tmp_path):
    other = tmp_path / "out.npy.stage.zarr.notes"
    other.mkdir()
    tiler.segment(np.zeros(SIZES, np.uint8), LabelNet(), tmp_path / "out.npy", kind="instances")
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {other.name}


def test_only_what_is_not_compressed_must_fit(tmp_path, monkeypatch):
    """Labels that wait for their numbers are compressed, whatever becomes of them."""
    call, whole = (np.zeros(SIZES, np.uint8), LabelNet(), tmp_path / "out.npy"), 4 * 176_000
    monkeypatch.setattr("tiler.running.output.free_disk", lambda output: whole - 1)
    with pytest.raises(SinkError, match="takes 1 MB, 0 MB are free"):
        tiler.segment(*call, kind="instances")
    monkeypatch.setattr("tiler.running.output.free_disk", lambda output: whole)
    listener = Warned()
    tiler.segment(*call, kind="instances", listener=listener)
    assert ["takes up to 1 MB while it is made" in warning for warning in listener.warnings] == [True]
