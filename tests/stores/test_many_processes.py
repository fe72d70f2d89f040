"""The ISBI stack by many processes, some of which die: the bytes of one process, through a folder and through S3."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from standins import Stopping

import tiler
from tiler.errors import Interrupted
from tiler.running.parts import member
from tiler.stores import asking
from tiler.stores.address import Address
from tiler.testing.predictors import PoolingNet

SCRIPT = Path(__file__).parents[1] / "running" / "part_run.py"
CHOICES = {"tile": "1x134x134", "block": "2x128x128"}
VOLUME = np.random.default_rng(0).integers(0, 250, (2, 61, 53), dtype=np.uint8)
PARTS, AT_ONCE, KILLED = 16, 4, 3


@pytest.fixture(scope="module")
def stack(shared):
    return shared / "isbi2012" / "train-volume.tif"


def begin(source, output, options, killed_after=0):
    return subprocess.Popen([sys.executable, str(SCRIPT), str(source), str(output), json.dumps(CHOICES | options),
                             str(killed_after)], stderr=subprocess.PIPE, text=True)


def through(jobs, at_once=AT_ONCE):
    """Start processes in this order, so many at once, and return their exit codes; one that fails is shown."""
    running, codes = [], []
    jobs = list(jobs)
    while jobs or running:
        while jobs and len(running) < at_once:
            running.append(begin(*jobs.pop(0)))
        for process in [each for each in running if each.poll() is not None]:
            running.remove(process)
            codes.append(process.returncode)
            _, said = process.communicate()
            assert process.returncode in (0, -9), said
        time.sleep(0.05)
    return codes


def files(output):
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in Path(output).rglob("*")
            if path.is_file()}


@pytest.mark.slow
def test_parts_through_one_folder_are_the_bytes_of_one_process(stack, tmp_path):
    tiler.segment(stack, PoolingNet(), tmp_path / "one" / "out.zarr", **CHOICES)
    output, chance = tmp_path / "parts" / "out.zarr", random.Random(20150518)
    order = chance.sample(range(PARTS), PARTS)
    lost = order[2:2 + KILLED]
    jobs = [(stack, output, {"part": f"{part}/{PARTS}"}, 4 if part in lost else 0) for part in order]
    jobs += [(stack, output, {"part": f"{part}/{PARTS}"}, 0) for part in lost]
    codes = through(jobs)
    assert codes.count(-9) == KILLED
    status = tiler.status(output)
    assert status.finished
    assert len(status.processes) == PARTS
    assert files(output) == files(tmp_path / "one" / "out.zarr")
    assert tiler.check(output, model=PoolingNet(), windows=2).sound


@pytest.mark.parametrize("options", [{"claim": True}, {"part": "0/1"}], ids=["claim", "part"])
def test_a_shared_run_goes_on_through_an_object_store_that_fails(server, root, options, monkeypatch):
    monkeypatch.setattr(member, "PAUSE", 0.01)
    choices = {"tile": "22", "block": "32"}
    source, output, stopping = f"{root}/volume.zarr", f"{root}/out.zarr", Stopping(after=3)
    store = asking("zarr_store").zarr_store(Address.parse(source), read_only=False)
    zarr.create_array(store, shape=VOLUME.shape, dtype="uint8", chunks=(1, 32, 32))[:] = VOLUME
    with server.failing(share=0.05):
        with pytest.raises(Interrupted):
            tiler.segment(source, PoolingNet(), output, listener=stopping, stop=stopping.stop, **choices, **options)
        done, again = tiler.status(output).stages[0].done, Stopping()
        tiler.segment(source, PoolingNet(), output, listener=again, **choices, **options)
    assert again.blocks == 8 - done
    np.testing.assert_array_equal(read(output), tiler.segment(VOLUME, PoolingNet(), **choices))
    assert tiler.status(output).finished


@pytest.mark.slow
def test_claims_through_an_object_store_that_fails_are_the_voxels_of_one_process(stack, server, root):
    volume = tifffile.imread(stack)[:8]
    source, output = f"{root}/volume.zarr", f"{root}/out.zarr"
    store = asking("zarr_store").zarr_store(Address.parse(source), read_only=False)
    zarr.create_array(store, shape=volume.shape, dtype="uint8", chunks=(1, 256, 256))[:] = volume
    whole = f"{root}/whole/out.zarr"
    tiler.segment(source, PoolingNet(), whole, **CHOICES)
    with server.failing(share=0.05) as faults:
        jobs = [(source, output, {"claim": True}, 3 if number < KILLED else 0) for number in range(AT_ONCE + KILLED)]
        codes = through(jobs)
    assert codes.count(-9) == KILLED
    assert len(faults.injected) > 20
    assert stored(output) == stored(whole)
    np.testing.assert_array_equal(read(output), tiler.segment(volume, PoolingNet(), **CHOICES))
    assert tiler.check(output, model=PoolingNet(), windows=2).sound


def stored(output):
    """Every object of an output."""
    address = Address.parse(output)
    keys = [each.key for each in asking().listing(address)]
    found = asking().get_all([address / key for key in keys])
    return {key: bytes(each.content) for key, each in zip(keys, found, strict=True)}


def read(output):
    return zarr.open_array(asking("zarr_store").zarr_store(Address.parse(output) / "0", read_only=True))[:]
