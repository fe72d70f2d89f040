"""A step of the user behind the network: applied block by block, and refused if the blocks show."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import steps
import tifffile
import torch

import tiler
from tiler.errors import Interrupted, PlanError, TilerError
from tiler.sources import open_source

STEPS = str(Path(__file__).with_name("steps.py"))
VOLUME = np.random.default_rng(0).integers(0, 255, (24, 60, 90), dtype=np.uint8)
BLOCKS = ("24x60x90", "8x32x32", "16x20x96")


class Mean(torch.nn.Module):
    """The mean of 27 voxels, from 0 to 1."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv3d(1, 1, 3, padding=1, bias=False)
        torch.nn.init.constant_(self.conv.weight, 1 / 27 / 255)

    def forward(self, x):
        return self.conv(x)


@pytest.fixture(scope="module")
def net():
    return tiler.open_model(Mean().eval(), head="none", normalise="0,1")


@pytest.fixture(scope="module")
def mean(net):
    return tiler.segment(VOLUME, net)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_watershed_with_context_is_the_same_in_all_blocks(net, mean, block):
    found = tiler.segment(VOLUME, net, block=block, post=f"{STEPS}:watershed")
    np.testing.assert_array_equal(found, steps.watershed(mean[None], (0, 0, 0), VOLUME.shape))
    assert found.dtype == np.uint32
    assert len(np.unique(found)) > 100


@pytest.mark.parametrize("call", [tiler.plan, tiler.segment])
@pytest.mark.parametrize(("name", "told"), [
    ("shortsighted", r"gives another result in other blocks, with a context of 4x4x4: \d+ of \d+ values"),
    ("stretched", "with a context of 0x0x0"), ("wrong_dtype", "returned float64 .* has to return float32"),
    ("wrong_shape", "returned float32 of shape"), ("broken", "raised KeyError: 'nothing'"),
    ("asks_nonsense", "asks for the context -3"), ("missing", "has no function 'missing'"), ("FAR", "no function")])
def test_what_a_step_must_not_do_is_refused_before_a_voxel_is_read(net, tmp_path, call, name, told):
    with pytest.raises(PlanError, match=told):
        call(VOLUME, net, tmp_path / "out.zarr", post=f"{STEPS}:{name}")
    assert not list(tmp_path.iterdir())


def test_a_step_that_depends_on_the_blocks_is_accepted_by_name(net, tmp_path):
    run = {"post": f"{STEPS}:stretched", "post_check": "accept", "block": "8x32x32"}
    path = tiler.segment(VOLUME, net, tmp_path / "out.zarr", **run)
    assert "differ from those of a larger block" in stored(path)["post"]["depends_on_blocks"]


def stored(path):
    return json.loads((path / "zarr.json").read_text())["attributes"]["tiler"]


def test_what_noise_does_not_show_the_true_result_does(net, tmp_path):
    bright = tiler.open_model(Mean().eval(), head="none", normalise="0,0.1")
    call = (save(tmp_path), bright, tmp_path / "out.zarr")
    with pytest.raises(PlanError, match="rare gives another result in other blocks"):
        tiler.segment(*call, post=f"{STEPS}:rare")
    tiler.segment(*call, post=f"{STEPS}:rare", post_check="accept", resume=True)
    assert "depends_on_blocks" in stored(tmp_path / "out.zarr")["post"]


def save(folder):
    np.save(folder / "in.npy", VOLUME)
    return folder / "in.npy"


@pytest.mark.parametrize("name", ["out.zarr", "out.h5", "out.tif"])
def test_a_step_is_journalled_resumed_and_checked(net, mean, tmp_path, name):
    run = {"block": "8x32x32", "post": f"{STEPS}:watershed"}
    call, stop = (save(tmp_path), net, tmp_path / name), threading.Event()

    class Stopper:
        def started(self, total, done): ...
        def finished_block(self, index, voxels):
            if self.now == "post":
                stop.set()

        def stage(self, name):
            self.now = name

        def warn(self, message): ...

    with pytest.raises(Interrupted):
        tiler.segment(*call, **run, listener=Stopper(), stop=stop)
    tiler.segment(*call, resume=True)
    np.testing.assert_array_equal(np.asarray(tiler.open_volume(tmp_path / name))[0],
                                  steps.watershed(mean[None], (0, 0, 0), VOLUME.shape))
    assert tiler.check(tmp_path / name, model=net).sound
    assert not list(tmp_path.glob("*stage*"))


def test_the_file_of_a_step_is_part_of_the_fingerprint(net, tmp_path):
    own = tmp_path / "own.py"
    own.write_text("def same(values):\n    return values\n")
    first = tiler.plan(VOLUME, net, post=f"{own}:same")
    own.write_text("def same(values):\n    return values + 0\n")
    again = tiler.plan(VOLUME, net, post=f"{own}:same")
    assert first.fingerprint != again.fingerprint != tiler.plan(VOLUME, net).fingerprint


def test_what_a_step_states_is_what_is_written(net, mean, tmp_path):
    path = tiler.segment(VOLUME, net, tmp_path / "out.zarr", post=steps.halves, block="8x32x32")
    opened = open_source(path)
    np.testing.assert_array_equal(np.asarray(opened), np.stack([mean, 1 - mean]).astype(np.float64))
    assert opened.dtype == np.float64
    assert stored(path)["classes"] == ["channel 0", "channel 1"]
    labels = tiler.segment(VOLUME, net, tmp_path / "cells.zarr", post=f"{STEPS}:watershed")
    assert stored(labels)["kind"] == "instances"


def test_steps_of_instances_and_keywords(net, mean):
    found = tiler.segment(VOLUME, net, post=steps.edges, block="8x32x32")
    np.testing.assert_array_equal(found, steps.edges(mean))


@pytest.mark.parametrize("wrong", ["steps", "steps.py", "steps.py:", 5, "a:b c"], ids=str)
def test_what_is_no_function_is_refused_by_name(net, wrong):
    with pytest.raises(TilerError, match=r"is not a function.*post="):
        tiler.plan(VOLUME, net, post=wrong)


@pytest.mark.parametrize(("options", "told"), [({"post_check": "accept"}, "belongs to post="),
                                               ({"post": len, "kind": "instances", "table": "t.csv"}, "leave out")])
def test_options_that_do_not_go_together(net, tmp_path, options, told):
    with pytest.raises(TilerError, match=told):
        tiler.plan(VOLUME, Mean(), tmp_path / "out.zarr", **options)


@pytest.mark.slow
def test_a_watershed_of_fib25_is_the_same_in_blocks_of_three_sizes(net, shared):
    raw = tifffile.imread(shared / "fib25" / "sample2-raw.tif")[:100, :200, :200]
    found = [tiler.segment(raw, net, block=block, post=f"{STEPS}:watershed")
             for block in ("100x200x200", "32x64x64", "40x100x72")]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    with pytest.raises(PlanError, match="gives another result in other blocks"):
        tiler.plan(raw, net, post=f"{STEPS}:shortsighted")
