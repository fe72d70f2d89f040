"""Blocks that fail are tried again from a fresh read, then set aside while the others go on."""

from __future__ import annotations

import errno
import pickle
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import zarr
from standins import Stopping

import tiler
from tiler.errors import BlockFailed, BlocksFailed, PlanError
from tiler.executors.serial import Serial
from tiler.executors.threads import Threads
from tiler.jobs import tried
from tiler.jobs.tried import Tried
from tiler.running.journal import Journal
from tiler.testing.predictors import PoolingNet
from tiler.testing.running import Squares

VOLUME = np.random.default_rng(0).integers(0, 250, (2, 61, 53), dtype=np.uint8)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(tried, "PAUSES", (0.0,))


@dataclass(frozen=True)
class Stumbling(Squares):
    """Fails in one step of one block so many times; counts its steps."""

    times: int = 0
    error: type[Exception] = OSError
    calls: list = field(default_factory=list)

    def _fail(self, step, index):
        if self.fails_at == (step, index):
            self.calls.append(step)
            if len(self.calls) <= self.times:
                raise self.error(f"cannot {step}")
        elif step == "read" and self.fails_at[1] == index:
            self.calls.append(step)


def run(job, executor, retries=2):
    found = {each.index: each.record for each in executor.run(Tried(job, retries), range(8), threading.Event())}
    assert sorted(found) == list(range(8))
    return found


@pytest.mark.parametrize("executor", [Serial(), Threads(2)], ids=["serial", "threads"])
@pytest.mark.parametrize("step", ["read", "compute", "write"])
def test_a_block_that_stumbles_is_done_in_another_try(executor, step):
    job = Stumbling((step, 4), times=2)
    found = run(job, executor)
    assert found[4]["square"] == 16
    assert [len(record["seconds"]) for record in found.values()] == [3] * 8
    if step == "compute":  # its own read, and a fresh one before each new try
        assert sorted(job.calls) == ["compute"] * 3 + ["read"] * 3 or job.calls.count("compute") == 2


@pytest.mark.parametrize("executor", [Serial(), Threads(2)], ids=["serial", "threads"])
def test_a_block_that_keeps_failing_is_set_aside_and_the_others_go_on(executor):
    found = run(Stumbling(("compute", 4), times=99), executor)
    assert dict(found[4]) == {"failed": "cannot compute", "tries": 3, "stops": False}
    assert isinstance(found[4].error, OSError)
    assert pickle.loads(pickle.dumps(found[4])) == dict(found[4])
    assert all(found[index]["square"] == index**2 for index in range(8) if index != 4)


class FullDisk(OSError):
    def __init__(self, text):
        super().__init__(errno.ENOSPC, text)


@pytest.mark.parametrize("error", [PlanError, FullDisk])
def test_what_comes_back_however_often_it_is_tried_is_tried_once_and_ends_the_run(error):
    found = run(Stumbling(("compute", 4), times=99, error=error), Serial())[4]
    assert (found["tries"], found["stops"]) == (1, True)


@contextmanager
def calling(before):
    """Call this with the batch before each pass of the network."""
    network = PoolingNet.__call__

    def call(self, batch):
        before(batch)
        return network(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PoolingNet, "__call__", call)
        yield


def test_the_end_names_the_blocks_that_failed_and_resuming_does_only_those(tmp_path):
    source, output, sums = tmp_path / "in.npy", tmp_path / "out.zarr", []
    np.save(source, VOLUME)
    choices = {"tile": "22", "block": "16", "batch": 1, "executor": "serial"}
    with calling(lambda batch: sums.append(int(batch.sum()))):
        whole = tiler.segment(VOLUME, PoolingNet(), **choices)

    def lose(batch):
        if int(batch.sum()) in (sums[3], sums[20]):
            raise RuntimeError("device lost")

    with calling(lose), pytest.raises(BlocksFailed, match=r"2 blocks failed: block \d+ at .*: device lost; block \d+ "):
        tiler.segment(source, PoolingNet(), output, **choices)
    assert len(Journal.load(tmp_path / "out.zarr.journal").failures("model")) == 2
    heard = Stopping()
    tiler.segment(source, PoolingNet(), output, resume=True, listener=heard)
    assert heard.blocks == 2
    assert not Journal.load(tmp_path / "out.zarr.journal").failures("model")
    np.testing.assert_array_equal(zarr.open_array(output / "0")[:], whole)


def test_a_run_stops_when_everything_fails():
    calls = []

    def lose(batch):
        calls.append(batch)
        raise RuntimeError("device lost")

    with calling(lose), pytest.raises(BlockFailed, match="10 blocks failed"):
        tiler.segment(VOLUME, PoolingNet(), tile="22", block="16", executor="serial", retries=0)
    assert len(calls) == 10


def test_errors_of_blocks_can_be_pickled():
    error = BlocksFailed(3, "here", "lost", ("block 4 at there: lost",))
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == \
        "2 blocks failed: block 3 at here: lost; block 4 at there: lost"
