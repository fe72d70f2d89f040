"""Runs that store the tensors of their network on disk: the values of runs in memory, whatever happens on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import warnings
from functools import cache

import dask.array as da
import numpy as np
import pytest
import staged_networks
import torch
from distributed import LocalCluster
from scipy import ndimage
from standins import Stopping

import tiler
from tiler.errors import Interrupted, MemoryBudgetError, PlanChangedError, PlanError, SinkError
from tiler.executors import dask as executor_of_dask
from tiler.executors.cluster import connected
from tiler.models.predictor.stored_stages import TorchStaging
from tiler.running.journal import journal_path
from tiler.running.perform import Silent

NAMES = ("planar", "volumes")
MODEL = {"device": "cpu", "threads": 1, "normalise": "0,255", "head": "softmax", "classes": "all"}
WIDE = {"precision": "float64", "dtype": "float64"}
SERIAL = {"executor": "serial"}
DISK = {**SERIAL, "block": (3, 64, 64)}
"""Blocks that are not those of a run in memory, whose tensors then are on disk, in blocks as large as there."""
SMALL = {**SERIAL, "block": (2, 9, 11)}
OBJECTS = {"kind": "instances", "classes": "1", "threshold": 0.5, "fill_holes": True, "split": "watershed",
           "seed_height": 0.5, "grow": 1, "min_size": 4}
SMOOTH = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(3, 41, 50)), (0.5, 2, 2))
STACK = np.round((SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH) * 255).astype(np.uint8)
TISSUE = np.zeros(STACK.shape, np.uint8)
TISSUE[1, 7:33, 12:40] = 1


@cache
def model(name, **options):
    """A network that is opened once for all tests."""
    return tiler.open_model(f"{staged_networks.__file__}:{name}", **{**MODEL, **options})


def one_pass(name):
    """Probabilities of a plain call."""
    module = getattr(staged_networks, name)().double()
    x = torch.from_numpy(STACK.astype("f8")) / 255
    with torch.no_grad():
        made = module(x[None, None])[0] if module.ndim == 3 else module(x[:, None]).movedim(0, 1)
    return made.softmax(0).numpy()


def files(output):
    """All bytes of an output but its provenance."""
    return {path.relative_to(output): path.read_bytes() for path in sorted(output.rglob("*"))
            if path.is_file() and path != output / "zarr.json"}


@pytest.fixture
def source(tmp_path):
    np.save(tmp_path / "in.npy", STACK)
    return tmp_path / "in.npy"


@pytest.mark.parametrize("average", ["none", pytest.param("d4", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_are_those_of_a_run_in_memory(name, average):
    opened = model(name, average=average)
    assert not tiler.plan(STACK, opened, **SERIAL).out_of_core
    assert tiler.plan(STACK, opened, **DISK).out_of_core
    np.testing.assert_array_equal(tiler.segment(STACK, opened, **DISK), tiler.segment(STACK, opened, **SERIAL))


@pytest.mark.slow
@pytest.mark.parametrize("block", [(1, 8, 50), (3, 13, 7), (3, 41, 25)])
@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_any_size_give_the_plain_pass(name, block):
    found = np.asarray(tiler.segment(STACK, model(name, **WIDE), **SERIAL, block=block))
    expected = one_pass(name)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=1e-10 * np.ptp(expected))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_threads_write_the_same_bytes(source, tmp_path, name):
    serial = tiler.segment(source, model(name), tmp_path / "serial.zarr", **SMALL)
    options = {**SMALL, "executor": "threads", "workers": 3}
    assert files(tiler.segment(source, model(name), tmp_path / "out.zarr", **options)) == files(serial)


@pytest.mark.slow
def test_one_cluster_of_dask_computes_all_stages_and_writes_the_same_bytes(source, tmp_path, monkeypatch):
    starts = []
    monkeypatch.setattr(executor_of_dask, "connected", lambda *args, real=connected: starts.append(args) or real(*args))
    with LocalCluster(n_workers=1, processes=False, protocol="tcp", dashboard_address=None) as cluster:
        options = {**SMALL, "executor": "dask", "scheduler": cluster.scheduler_address}
        tiler.segment(source, model("volumes"), tmp_path / "out.zarr", **options)
    assert len(starts) == 1
    serial = tiler.segment(source, model("volumes"), tmp_path / "serial.zarr", **SMALL)
    assert files(tmp_path / "out.zarr") == files(serial)


class Dying(Silent):
    """Kills the process after some blocks, as loss of power would."""

    def __init__(self, after):
        self.left = after

    def finished_block(self, index, voxels):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(after, run):
    """Run in a copy of this process that is killed after some blocks; False if it came to an end before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, of which there are none here
        child = os.fork()
    if not child:
        try:
            run(Dying(after))
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def recorded(output):
    """Number of blocks in the journal of a run."""
    lines = [json.loads(line.rpartition(b"\t")[0]) for line in journal_path(output).read_bytes().splitlines()]
    return sum("block" in line and line["stage"] != "created" for line in lines)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize(("name", "kills"), [
    ("planar", (9,)),
    *(pytest.param(name, (1, 2, 5, 9, 20, 30), marks=pytest.mark.slow) for name in NAMES)])
def test_a_run_that_is_killed_anywhere_goes_on_to_the_same_bytes_and_redoes_nothing(source, tmp_path, name, kills):
    def run(listener, **options):
        torch.set_num_threads(1)
        tiler.segment(source, model(name), tmp_path / "out.zarr", listener=listener, **SMALL, **options)

    total = Stopping()
    tiler.segment(source, model(name), tmp_path / "straight.zarr", listener=total, **SMALL)
    done = 0
    for after in kills:
        if not killed(after, lambda listener, done=done: run(listener, resume=bool(done))):
            break
        done += after
        assert recorded(tmp_path / "out.zarr") == done
    rest = Stopping()
    run(rest, resume=True)
    assert done + rest.blocks == total.blocks
    assert done >= min(sum(kills), 16)
    assert files(tmp_path / "out.zarr") == files(tmp_path / "straight.zarr")
    assert not (tmp_path / "out.zarr.scratch").exists()


def stopped(source, output, name, after, **options):
    listener = Stopping(after)
    with pytest.raises(Interrupted):
        tiler.segment(source, model(name), output, listener=listener, stop=listener.stop, **SMALL, **options)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["removed", "flipped", "cut"])
def test_tensors_that_are_lost_are_made_again_as_far_as_they_are_needed(source, tmp_path, damage):
    output = tmp_path / "out.zarr"
    stopped(source, output, "volumes", 80)
    (first, *_), *_ = [sorted(folder.iterdir()) for folder in sorted((tmp_path / "out.zarr.scratch").iterdir())][-1:]
    if damage == "removed":
        shutil.rmtree(tmp_path / "out.zarr.scratch")
    elif damage == "cut":
        first.write_bytes(first.read_bytes()[:-4])
    else:
        first.write_bytes(bytes(byte ^ 255 for byte in first.read_bytes()))
    tiler.segment(source, model("volumes"), output, resume=True, **SMALL)
    expected = tiler.segment(source, model("volumes"), tmp_path / "straight.zarr", **SMALL)
    assert files(output) == files(expected)


@pytest.mark.slow
def test_flipped_bits_whose_times_were_set_back_are_found_by_verify(source, tmp_path):
    output = tmp_path / "out.zarr"
    stopped(source, output, "volumes", 30)
    first = min((tmp_path / "out.zarr.scratch" / "tensor 0").iterdir())
    was = first.stat()
    first.write_bytes(bytes(byte ^ 255 for byte in first.read_bytes()))
    os.utime(first, ns=(was.st_atime_ns, was.st_mtime_ns))
    tiler.segment(source, model("volumes"), output, resume=True, verify=True, **SMALL)
    assert files(output) == files(tiler.segment(source, model("volumes"), tmp_path / "straight.zarr", **SMALL))


@pytest.mark.parametrize("name", [pytest.param("planar", marks=pytest.mark.slow), "volumes"])
def test_a_region_is_that_region_of_the_whole(name):
    whole = tiler.segment(STACK, model(name), **DISK)
    found = tiler.segment(STACK, model(name), roi="1:3,5:30,20:50", **SMALL)
    np.testing.assert_allclose(found, whole[:, 1:3, 5:30, 20:50], rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_inside_a_mask_nothing_changes_and_outside_is_zero(name):
    whole = tiler.segment(STACK, model(name), **SMALL)
    found = tiler.segment(STACK, model(name), mask=TISSUE, **SMALL)
    np.testing.assert_array_equal(found, np.where(TISSUE > 0, whole, 0))


@pytest.mark.slow
def test_objects_are_those_of_a_run_in_memory():
    opened = model("volumes", kind="instances", classes="1", threshold=0.5, split="watershed")
    options = {name: value for name, value in OBJECTS.items() if name not in ("kind", "classes", "threshold", "split")}
    expected = tiler.segment(STACK, opened, **SERIAL, **options)
    assert expected.max() > 3
    np.testing.assert_array_equal(tiler.segment(STACK, opened, **SMALL, **options), expected)


def test_the_mode_is_not_part_of_the_result_and_the_blocks_are(source):
    in_memory, on_disk, small = (tiler.plan(source, model("volumes"), **each) for each in
                                 (SERIAL, DISK, SMALL))
    assert not in_memory.out_of_core
    assert on_disk.out_of_core
    assert in_memory.fingerprint == on_disk.fingerprint != small.fingerprint
    assert "3 tensors of an input, too large for memory or in chosen blocks, are stored on disk" in str(on_disk)
    assert "3 tensors stay in memory" in str(in_memory)


@pytest.mark.slow
def test_a_run_keeps_the_mode_in_which_it_was_begun(source, tmp_path):
    stopped(source, tmp_path / "out.zarr", "volumes", 3)
    with pytest.raises(PlanChangedError, match="block"):
        tiler.segment(source, model("volumes"), tmp_path / "out.zarr", resume=True, block=(3, 64, 64))
    tiler.segment(source, model("volumes"), tmp_path / "out.zarr", resume=True, memory="60GB")
    straight = tiler.segment(source, model("volumes"), tmp_path / "straight.zarr", **SMALL)
    assert files(tmp_path / "out.zarr") == files(straight)


@pytest.mark.slow
def test_tensors_lie_where_the_user_wants_and_go_with_the_run(source, tmp_path):
    scratch = tmp_path / "fast"
    stopped(source, tmp_path / "out.zarr", "volumes", 3, scratch=scratch)
    assert len(list(scratch.glob("out.zarr-*.scratch/tensor 0/*"))) == 3
    with pytest.raises(SinkError, match=r"stored tensors .*fast, not in .*other"):
        tiler.segment(source, model("volumes"), tmp_path / "out.zarr", resume=True, scratch=tmp_path / "other")
    tiler.segment(source, model("volumes"), tmp_path / "out.zarr", resume=True, **SMALL)
    assert list(scratch.iterdir()) == []
    stopped(source, tmp_path / "out.zarr", "volumes", 3, scratch=scratch, overwrite=True)
    tiler.segment(source, model("volumes"), tmp_path / "out.zarr", overwrite=True, **SMALL)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(("options", "message"), [
    ({"scratch_size": "1MB"}, r"take \d+ MB of disk.*scratch_size="),
    ({"memory": "1MB"}, "their blocks, there are 1 MB.*memory="),
])
def test_what_does_not_fit_is_refused_in_one_line(options, message):
    with pytest.raises(MemoryBudgetError, match=message):
        tiler.plan(np.tile(STACK, (1, 4, 4)), model("volumes"), **DISK, **options)


def test_a_disk_that_is_too_small_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.setattr("tiler.running.scratch_folder.free_disk", lambda path: 1000)
    with pytest.raises(SinkError, match="are free there: choose another disk"):
        tiler.plan(source, model("volumes"), tmp_path / "out.zarr", **SMALL)


def test_an_object_store_needs_a_folder_for_tensors():
    with pytest.raises(SinkError, match="name a folder for them"):
        tiler.plan(STACK, model("volumes"), "s3://bucket/out.zarr", **SMALL)


def test_a_lazy_result_stays_in_memory():
    with pytest.raises(PlanError, match=r"tiler\.segment"):
        tiler.lazy(da.from_array(STACK), model("volumes"), block=(2, 9, 11))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_check_computes_windows_again_and_finds_wrong_values(source, tmp_path, monkeypatch, name):
    output = tiler.segment(source, model(name, average="flip4"), tmp_path / "out.zarr", **SMALL)
    report = tiler.check(output, windows=3)
    assert report.sound
    assert report.windows == 3
    with monkeypatch.context() as patch:
        patch.setattr(TorchStaging, "written", lambda self, values, real=TorchStaging.written: real(self, values) + 0.1)
        assert tiler.check(output, windows=1).wrong
