"""A network on four local processes gives the bits of one process, even if any of them is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import psutil
import pytest
from distributed import Client

import tiler
from tiler.errors import TilerError
from tiler.models import UNet
from tiler.running.journal import Journal

pytestmark = pytest.mark.slow  # each starts four processes with torch

VOLUME = np.random.default_rng(0).integers(0, 250, (8, 61, 53), dtype=np.uint8)
OPTIONS = {"tile": "60", "block": "1x20x20", "threads": 1, "device": "cpu", "head": "softmax"}
BLOCKS = 8 * 4 * 3
WORKERS = 4


class Killing:
    """A listener that does something at the tenth block, and counts."""

    def __init__(self, action=lambda: None):
        self.action, self.indices = action, []

    def stage(self, name): ...
    def started(self, total, done): ...
    def warn(self, message): ...
    def finished_block(self, index, voxels):
        self.indices.append(index)
        if len(self.indices) == 10:
            self.action()


@pytest.fixture(scope="module")
def network():
    return UNet(base=4, depth=2).eval()


@pytest.fixture(scope="module")
def expected(network):
    return tiler.segment(VOLUME, network, **OPTIONS)


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "in.npy", VOLUME)
    return tmp_path / "in.npy", tmp_path / "out.npy"


def journalled(output):
    """Blocks in the order in which they were recorded."""
    lines = output.with_name(f"{output.name}.journal").read_text().splitlines()
    return [line for line in lines if '"model"' in line and '"checksum"' in line]


def kill_a_worker():
    """One of the processes that dask has spawned for itself."""
    spawned = [child for child in psutil.Process().children(recursive=True)
               if "spawn_main" in " ".join(child.cmdline())]
    assert len(spawned) >= WORKERS
    spawned[0].kill()


def test_one_worker_killed_in_the_middle_loses_and_doubles_nothing(network, expected, files):
    source, output = files
    heard = Killing(kill_a_worker)
    tiler.segment(source, network, output, executor="dask", workers=WORKERS, listener=heard, **OPTIONS)
    assert sorted(heard.indices) == list(range(BLOCKS))
    assert len(journalled(output)) == BLOCKS
    np.testing.assert_array_equal(np.load(output), expected)


@contextmanager
def commands(folder):
    """A scheduler and four workers, started as on a cluster, and the file that says where the scheduler is."""
    file, dask = folder / "scheduler.json", [sys.executable, "-m", "dask"]
    where = ["--scheduler-file", str(file), "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    scheduler = subprocess.Popen([*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", *where], **quiet)
    workers = [subprocess.Popen([*dask, "worker", *where, "--nthreads", "2", "--death-timeout", "20"], **quiet)
               for _ in range(WORKERS)]
    try:
        with Client(scheduler_file=str(file), timeout=60, set_as_default=False) as client:
            client.wait_for_workers(WORKERS, timeout=120)
        yield str(file), scheduler
    finally:
        for process in (*workers, scheduler):
            process.terminate()
        for process in (*workers, scheduler):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_a_killed_scheduler_leaves_a_run_that_resume_finishes(network, expected, files):
    source, output = files
    with commands(source.parent) as (address, scheduler):
        heard = Killing(lambda: scheduler.send_signal(signal.SIGKILL))
        with pytest.raises(TilerError, match=r"scheduler was lost.*resume="):
            tiler.segment(source, network, output, executor="dask", scheduler=address, listener=heard, **OPTIONS)
    done = Journal.load(output.with_name("out.npy.journal")).records("model")
    assert 10 <= len(done) < BLOCKS
    again = Killing()
    tiler.segment(source, network, output, resume=True, listener=again, stop=threading.Event())
    assert sorted([*done, *again.indices]) == list(range(BLOCKS))
    np.testing.assert_array_equal(np.load(output), expected)
