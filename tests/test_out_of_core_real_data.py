"""The law for tensors on disk, on sections and on a volume of electron microscopy."""

from __future__ import annotations

import os
import signal
import warnings
from functools import cache

import numpy as np
import pytest
import staged_networks
import tifffile
import torch
from distributed import LocalCluster
from standins import Stopping

import tiler
from tiler.running.perform import Silent

pytestmark = pytest.mark.slow

MODEL = {"device": "cpu", "threads": 1, "normalise": "0,255", "head": "softmax", "classes": "all"}
WIDE = {"precision": "float64", "dtype": "float64"}
CASES = {
    "isbi2012": ("planar", "train-volume.tif", np.s_[:2, :300, :260], [(1, 64, 64), (1, 100, 260), (1, 40, 33)]),
    "fib25": ("volumes", "sample2-raw.tif", np.s_[:40, :70, :66], [(16, 32, 32), (40, 9, 66), (11, 23, 70)]),
}
KILLS = 15


@pytest.fixture(params=sorted(CASES))
def case(request, shared, tmp_path):
    """Name of a network, its volume in a file, and three block sizes."""
    name, file, part, blocks = CASES[request.param]
    np.save(tmp_path / "in.npy", tifffile.imread(shared / request.param / file)[part])
    return name, tmp_path / "in.npy", blocks


@cache
def model(name, **options):
    return tiler.open_model(f"{staged_networks.__file__}:{name}", **MODEL, **options)


def files(output):
    """All bytes of an output but its provenance."""
    return {path.relative_to(output): path.read_bytes() for path in sorted(output.rglob("*"))
            if path.is_file() and path != output / "zarr.json"}


def one_pass(name, volume):
    module = getattr(staged_networks, name)().double()
    x = torch.from_numpy(volume.astype("f8")) / 255
    with torch.no_grad():
        made = module(x[None, None])[0] if module.ndim == 3 else module(x[:, None]).movedim(0, 1)
    return made.softmax(0).numpy()


def test_three_block_sizes_give_the_plain_pass_and_a_region_is_that_of_the_whole(case):
    name, source, blocks = case
    expected = one_pass(name, np.load(source))
    for block in blocks:
        found = tiler.segment(source, model(name, **WIDE), block=block)
        assert np.abs(found - expected).max() <= 1e-10 * np.ptp(expected)
        region = tiler.segment(source, model(name, **WIDE), block=block, roi="1:2,7:61,20:59")
        assert np.abs(region - expected[:, 1:2, 7:61, 20:59]).max() <= 1e-10 * np.ptp(expected)


def test_executors_write_the_same_bytes(case, tmp_path):
    name, source, (block, *_) = case
    written = [files(tiler.segment(source, model(name), tmp_path / "serial.zarr", block=block, executor="serial")),
               files(tiler.segment(source, model(name), tmp_path / "threads.zarr", block=block, workers=3))]
    with LocalCluster(n_workers=2, processes=False, protocol="tcp", dashboard_address=None) as cluster:
        written.append(files(tiler.segment(source, model(name), tmp_path / "dask.zarr", block=block, executor="dask",
                                           scheduler=cluster.scheduler_address)))
    assert written[0] == written[1] == written[2]


class Dying(Silent):
    """Kills the process after some blocks."""

    def __init__(self, after):
        self.left = after

    def finished_block(self, index, voxels):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


def die(run, after):
    """Run in a copy of this process that is killed after some blocks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, of which there are none here
        child = os.fork()
    if not child:
        try:
            run(Dying(after))
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.skipif(os.name == "nt", reason="there is no fork")
def test_a_run_that_is_killed_at_many_points_redoes_nothing_and_writes_the_same_bytes(case, tmp_path):
    name, source, (block, *_) = case

    def run(listener, output=tmp_path / "out.zarr", **options):
        tiler.segment(source, model(name), output, listener=listener, block=block, executor="serial", **options)

    straight = Stopping()
    run(straight, tmp_path / "straight.zarr")
    apart = straight.blocks // (KILLS + 1)
    assert apart > 0
    for kill in range(KILLS):
        die(lambda listener, kill=kill: run(listener, resume=kill > 0), apart)
    rest = Stopping()
    run(rest, resume=True)
    assert KILLS * apart + rest.blocks == straight.blocks
    assert files(tmp_path / "out.zarr") == files(tmp_path / "straight.zarr")
