"""A run is a list of stages, and performing, resuming and checking go through that list."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import numpy as np
import tifffile
from standins import LabelNet

import tiler
from tiler.executors.serial import Serial
from tiler.geometry import Box
from tiler.opening import open_all
from tiler.options import Options
from tiler.ports import KINDS, Kind
from tiler.running.destination import InMemory
from tiler.running.output import output_of
from tiler.running.perform import Silent, perform
from tiler.running.progress import Memo
from tiler.running.results import RESULTS, Probabilities
from tiler.running.run_spec import sinks_of
from tiler.running.stage import is_sound
from tiler.running.stages import stages_of
from tiler.running.start import run_spec
from tiler.sinks import open_finished
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 250, (4, 37, 41), dtype=np.uint8)


def names(net, **options):
    opened = open_all(VOLUME, net, Options(**options), trust=False)
    return [stage.name for stage in stages_of(run_spec(opened, opened.plan(), InMemory()))]


def test_the_stages_of_a_run_depend_on_the_network_and_the_result():
    assert names(PoolingNet()) == ["model"]
    assert names(PoolingNet(), normalise="volume") == ["statistics", "model"]
    assert names(LabelNet(), kind="instances", normalise="volume") == [
        "statistics", "model", "components", "merge", "instances"]


def test_every_kind_of_result_can_be_made():
    assert set(RESULTS) == set(KINDS)


def test_a_block_that_is_numbered_again_gets_its_own_numbers():
    """Also where later blocks are numbered already."""
    opened = open_all(VOLUME, LabelNet(), Options(kind="instances"), trust=False)
    stages, done, found = stages_of(run_spec(opened, opened.plan(), InMemory())), {}, {}
    for sink in sinks_of(stages):
        sink.create()
    for stage in stages:
        job = stage.job(found, {})
        done[stage.name] = {index: job.write(index, job.compute(index, job.read(index))) for index in stage.order}
        found[stage.name] = stage.merge(found, done[stage.name])
    (box,) = stage.stored(1)
    expected = stage.sink.read(box)
    stage.sink.write(box, np.zeros_like(expected))
    assert job.write(1, job.compute(1, job.read(1))) == done["instances"][1]
    np.testing.assert_array_equal(stage.sink.read(box), expected)


SCORES = Kind("scores", True, "channels", ("float32",), "/scores")


@dataclass(frozen=True, slots=True)
class Scores(Probabilities):
    """A kind of result of one's own: one class, and one line in each of two tables."""

    kind: Kind = SCORES


def test_a_new_kind_of_result_is_a_class_and_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "scores", SCORES)
    source = tmp_path / "stack.tif"
    tifffile.imwrite(source, VOLUME, photometric="minisblack")
    opened = open_all(source, PoolingNet(), Options(), trust=False)
    run = replace(run_spec(opened, opened.plan(), output_of(tmp_path / "out.zarr")), result=Scores())
    record = Memo()
    sink = perform(run, record, Serial(), Silent(), threading.Event())
    np.testing.assert_array_equal(sink.read(Box.of_shape(VOLUME.shape))[0], tiler.segment(VOLUME, PoolingNet()))
    assert open_finished(tmp_path / "out.zarr")["kind"] == "scores"
    (stage,) = stages_of(run)
    assert all(is_sound(stage, index, content) for index, content in record.records("model").items())
