"""One suite for all executors: equal blocks and bytes, stops, failures and resumed runs; then tests for dask alone."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cloudpickle
import dask
import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster
from distributed.comm.core import CommClosedError

import tiler
from tiler.errors import BlockFailed, Interrupted, PlanError, SinkError, TilerError
from tiler.executors import cluster, open_executor
from tiler.executors.dask import Dask, _Stream, run_block
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 250, (3, 61, 53), dtype=np.uint8)


@pytest.fixture(scope="module")
def scheduler():
    """Address of a cluster of two processes."""
    with LocalCluster(n_workers=2, threads_per_worker=2, memory_limit=0, dashboard_address="127.0.0.1:0",
                      silence_logs=logging.CRITICAL) as running:
        yield running.scheduler_address


@pytest.fixture(params=("threads", "serial", "dask"))
def choice(request):
    """Options that choose one executor."""
    if request.param != "dask":
        return {"executor": request.param}
    return {"executor": "dask", "scheduler": request.getfixturevalue("scheduler")}


def opened(choice):
    return open_executor(choice["executor"], 2, choice.get("scheduler"))


@dataclass(frozen=True)
class SquareJob:
    """Squares of numbers, written to files; one of them may fail, kill its process, or wait at a gate."""

    folder: Path
    feeders = 1
    failing: int | None = None
    killing: int | None = None
    pause: float = 0.0

    def where(self, index):
        return f"place {index}"

    def read(self, index):
        return index

    def compute(self, index, window):
        time.sleep(self.pause)
        if index == self.failing:
            raise RuntimeError("device\nlost")
        if index == self.killing:
            self.die()
        return window**2

    def die(self):
        """Only the first time."""
        try:
            (self.folder / "died").touch(exist_ok=False)
        except FileExistsError:
            return
        os._exit(1)

    def write(self, index, result):
        (self.folder / f"{index}.txt").write_text(str(result))
        return {"square": result, "process": os.getpid()}

    def written(self):
        return {int(path.stem): int(path.read_text()) for path in self.folder.glob("*.txt")}


@dataclass(frozen=True)
class KillingJob(SquareJob):
    """One block kills every process that takes it."""

    def die(self):
        os._exit(1)


SQUARES = {index: index**2 for index in range(40)}


def test_every_block_is_done_once(choice, tmp_path):
    job = SquareJob(tmp_path)
    finished = list(opened(choice).run(job, range(40), threading.Event()))
    assert sorted(f.index for f in finished) == list(range(40))
    assert {f.index: f.record["square"] for f in finished} == SQUARES == job.written()


def test_indices_are_drawn_as_they_are_needed(choice, tmp_path):
    drawn = []
    results = opened(choice).run(SquareJob(tmp_path), (drawn.append(i) or i for i in range(1000)), threading.Event())
    next(results)
    assert len(drawn) <= 20
    results.close()


def test_nothing_to_do_is_nothing_done(choice, tmp_path):
    assert list(opened(choice).run(SquareJob(tmp_path), (), threading.Event())) == []


def test_stopped_it_finishes_what_is_under_way(choice, tmp_path):
    job, stop, seen = SquareJob(tmp_path), threading.Event(), []
    for finished in opened(choice).run(job, range(1000), stop):
        seen.append(finished.index)
        stop.set()
    assert 1 <= len(seen) <= 20
    assert job.written() == {index: index**2 for index in seen}


def test_an_error_names_its_block_and_keeps_its_cause(choice, tmp_path):
    job = SquareJob(tmp_path, failing=3)
    with pytest.raises(BlockFailed, match="block 3 at place 3 failed: device lost") as failed:
        list(opened(choice).run(job, range(1000), threading.Event()))
    assert isinstance(failed.value.__cause__, RuntimeError)
    assert 3 not in job.written()
    assert len(job.written()) < 500


def whole():
    return tiler.segment(VOLUME, PoolingNet(), executor="serial")


class Stopping:
    """A listener that stops a run after some blocks, and counts."""

    def __init__(self, after=None):
        self.after, self.count, self.stop = after, 0, threading.Event()

    def stage(self, name): ...
    def started(self, total, done): ...
    def warn(self, message): ...
    def finished_block(self, index, voxels):
        self.count += 1
        if self.count == self.after:
            self.stop.set()


def read(path):
    return zarr.open(path / "0")[:]


def test_a_run_gives_the_same_and_goes_on_with_any_other(choice, tmp_path):
    np.save(tmp_path / "in.npy", VOLUME)
    output, first, again = tmp_path / "out.zarr", Stopping(4), Stopping()
    with pytest.raises(Interrupted):
        tiler.segment(tmp_path / "in.npy", PoolingNet(), output, listener=first, stop=first.stop, block="16", **choice)
    tiler.segment(tmp_path / "in.npy", PoolingNet(), output, listener=again, resume=True, executor="threads")
    assert first.count + again.count == 3 * 4 * 4
    np.testing.assert_array_equal(read(output), whole())


def test_a_first_pass_runs_on_it_too(choice, tmp_path):
    output = tmp_path / "out.zarr"
    tiler.segment(VOLUME, PoolingNet(), output, normalise="volume", **choice)
    np.testing.assert_array_equal(read(output), tiler.segment(VOLUME, PoolingNet(), normalise="volume"))


@dataclass(frozen=True)
class MeetingJob(SquareJob):
    """The first six blocks are computed three at a time or never."""

    feeders = 3

    def compute(self, index, window):
        if index < 6:
            MEETING.wait(20.0)
        return super().compute(index, window)


MEETING = threading.Barrier(3)


def test_as_many_blocks_are_computed_at_once_as_there_are_feeders(tmp_path):
    job = MeetingJob(tmp_path)
    finished = list(open_executor("threads", 2).run(job, range(12), threading.Event()))
    assert [f.index for f in finished] == list(range(12))
    assert job.written() == {index: index**2 for index in range(12)}


def test_an_error_beside_other_feeders_is_raised_when_they_have_ended(tmp_path):
    job = MeetingJob(tmp_path, failing=4)
    with pytest.raises(BlockFailed, match="block 4 at place 4 failed: device lost"):
        list(open_executor("threads", 2).run(job, range(12), threading.Event()))
    assert 4 not in job.written()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tiler-")]


def test_threads_of_a_worker_compute_as_feeders_allow(tmp_path):
    """Three at once where there are three, one at a time where there is one."""
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(partial(run_block, MeetingJob(tmp_path), driver=cluster.versions()), range(6)))
        assert len(MeetingJob(tmp_path).written()) == 6
        inside, at_once = [], []

        class Alone(SquareJob):
            def compute(self, index, window):
                inside.append(index)
                time.sleep(0.01)
                at_once.append(len(inside))
                inside.remove(index)
                return 0

        list(pool.map(partial(run_block, Alone(tmp_path), driver=cluster.versions()), range(6)))
        assert at_once == [1] * 6


# What is dask's alone.


def test_a_network_gives_the_same_bits_with_the_same_threads_per_forward(scheduler, tmp_path):
    from tiler.models import UNet  # here: processes that only square numbers need no torch

    net = UNet(base=4, depth=2).eval()
    options = {"tile": "60", "block": "20", "threads": 1, "device": "cpu"}
    output = tmp_path / "out.zarr"
    tiler.segment(VOLUME, net, output, executor="dask", scheduler=scheduler, **options)
    np.testing.assert_array_equal(read(output), tiler.segment(VOLUME, net, **options))


def test_all_workers_share_the_work(scheduler, tmp_path):
    finished = Dask(2, scheduler).run(SquareJob(tmp_path, pause=0.05), range(40), threading.Event())
    assert len({f.record["process"] for f in finished} - {os.getpid()}) == 2


def test_processes_of_its_own_survive_the_loss_of_one(tmp_path, caplog):
    job = SquareJob(tmp_path, killing=5)
    with caplog.at_level(logging.INFO, "tiler.executors.cluster"):
        finished = list(Dask(2).run(job, range(40), threading.Event()))
    assert (tmp_path / "died").exists()
    assert sorted(f.index for f in finished) == list(range(40))
    assert job.written() == SQUARES
    assert "dashboard at http://127.0.0.1:" in caplog.text


def test_a_block_that_kills_every_worker_is_named(tmp_path):
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), \
            pytest.raises(BlockFailed, match=r"block 0 at place 0 failed: every worker that had it died.*memory="):
        list(Dask(1).run(KillingJob(tmp_path, killing=0), range(1), threading.Event()))


def test_a_lost_scheduler_is_one_line_and_the_run_can_go_on(tmp_path):
    np.save(tmp_path / "in.npy", VOLUME)
    output, heard = tmp_path / "out.zarr", Stopping()
    running = LocalCluster(n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0",
                           silence_logs=logging.CRITICAL)
    heard.finished_block = lambda index, voxels: running.close() if index == 3 else None
    with pytest.raises(TilerError, match=r"scheduler was lost.*resume="):
        tiler.segment(tmp_path / "in.npy", PoolingNet(), output, block="16", listener=heard, executor="dask",
                      scheduler=running.scheduler_address)
    tiler.segment(tmp_path / "in.npy", PoolingNet(), output, resume=True)
    np.testing.assert_array_equal(read(output), whole())


def test_a_scheduler_lost_before_a_result_was_fetched_is_the_same_line(tmp_path):
    class Finished:
        key = "block"

        def result(self):
            raise CommClosedError("in <TCP (closed) ConnectionPool.gather>")

    with pytest.raises(TilerError, match=r"scheduler was lost.*resume="):
        _Stream(None, SquareJob(tmp_path), {"block": 3})._result(Finished())


def test_a_cluster_that_was_there_stays(scheduler, tmp_path):
    list(Dask(2, scheduler).run(SquareJob(tmp_path), range(4), threading.Event()))
    with Client(scheduler, set_as_default=False) as client:
        assert len(client.nthreads()) == 2


def test_nobody_else_can_talk_to_workers_that_a_run_starts():
    with cluster.connected(1, 1, None) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        with pytest.raises(OSError, match=r"timed out|refused|reset|TLS|SSL"):
            Client(address.replace("tls://", "tcp://"), timeout=2, set_as_default=False)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense"])
def test_a_scheduler_that_does_not_answer_is_one_line(address, monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 0.3)
    with pytest.raises(PlanError, match=f"no dask scheduler answers at {address}.*scheduler="):
        list(Dask(2, address).run(SquareJob(Path()), range(3), threading.Event()))


def test_a_scheduler_without_workers_is_one_line(monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", 0.5)
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty, \
            pytest.raises(PlanError, match="has no workers: start some with `dask worker"):
        list(Dask(2, empty.scheduler_address).run(SquareJob(Path()), range(3), threading.Event()))


@pytest.mark.parametrize(("found", "message"), [
    ({"tiler": None}, "has no tiler: install em-tiler"),
    ({"tiler": "0.0"}, "has tiler 0.0, here it is"),
    ({"torch": None}, "has torch None, here it is"),
])
def test_workers_without_the_package_or_of_another_version_are_one_line(scheduler, monkeypatch, found, message):
    right = cluster._reporter()()

    class Elsewhere(Client):
        def run(self, function):
            return {"tcp://far:1": {**right, **found}}

    monkeypatch.setattr(cluster, "Client", Elsewhere)
    with pytest.raises(PlanError, match=f"the dask worker at tcp://far:1 {message}"):
        list(Dask(2, scheduler).run(SquareJob(Path()), range(3), threading.Event()))


def test_a_worker_of_another_version_that_comes_late_is_one_line(scheduler, monkeypatch, tmp_path):
    monkeypatch.setattr("tiler.executors.dask.versions", lambda: {**cluster.versions(), "torch": "0.1"})
    with pytest.raises(BlockFailed, match=r"has torch \S+, where the run was started it is 0.1: results could differ"):
        list(Dask(2, scheduler).run(SquareJob(tmp_path), range(3), threading.Event()))
    assert not list(tmp_path.iterdir())


def test_a_worker_without_the_package_that_comes_late_is_named(scheduler, monkeypatch, tmp_path):
    """Its own error is that of a task that it cannot unpickle."""
    def unpacked(*args):
        raise ModuleNotFoundError("No module named 'tiler'")

    monkeypatch.setattr("tiler.executors.dask.run_block", unpacked)
    right, asked = cluster._reporter()(), []

    class Joined(Client):
        def run(self, function):
            asked.append(function)
            return {"tcp://late:1": right if len(asked) == 1 else {**right, "tiler": None}}

    monkeypatch.setattr(cluster, "Client", Joined)
    with pytest.raises(BlockFailed, match="the dask worker at tcp://late:1 has no tiler: install em-tiler"):
        list(Dask(2, scheduler).run(SquareJob(tmp_path), range(3), threading.Event()))


def test_a_worker_without_the_package_can_say_so():
    program = ("import sys, pickle; sys.modules['tiler'] = None; "
               "print(pickle.loads(sys.stdin.buffer.read())()['tiler'])")
    told = subprocess.run([sys.executable, "-c", program], input=cloudpickle.dumps(cluster._reporter()),
                          capture_output=True, check=True)
    assert told.stdout == b"None\n"


def test_an_array_in_memory_is_refused():
    with pytest.raises(SinkError, match=r"array in memory.*executor"):
        tiler.segment(VOLUME, PoolingNet(), executor="dask")


def test_without_dask_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tiler.executors.dask", None)
    with pytest.raises(PlanError, match=r"pip install 'em-tiler\[dask\]'"):
        open_executor("dask", 2)


def test_a_scheduler_belongs_to_dask():
    with pytest.raises(PlanError, match="scheduler"):
        tiler.segment(VOLUME, PoolingNet(), executor="threads", scheduler="tcp://127.0.0.1:9")
