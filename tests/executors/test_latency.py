"""Slow storage is not waited for: windows are read while others are computed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tiler.errors import BlockFailed
from tiler.executors import open_executor

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@dataclass(frozen=True)
class AheadJob:
    """A block is computed when one more has been read than blocks were computed, and never otherwise."""

    folder: Path
    patience: float
    blocks = 8
    feeders = 1

    def where(self, index):
        return f"place {index}"

    def read(self, index):
        (self.folder / f"{index}.read").touch()

    def compute(self, index, window):
        given_up = time.monotonic() + self.patience
        while self.count("read") < min(self.blocks, self.count("computed") + 2):
            if time.monotonic() > given_up:
                raise TimeoutError(f"nothing is read while {index} is computed")
            time.sleep(0.001)
        (self.folder / f"{index}.computed").touch()

    def count(self, what):
        return len(list(self.folder.glob(f"*.{what}")))

    def write(self, index, result):
        return {}


@pytest.mark.parametrize("executor", ["threads", "dask"])
def test_the_next_window_is_read_while_one_is_computed(executor, tmp_path):
    job = AheadJob(tmp_path, 30.0)
    finished = list(open_executor(executor, 1).run(job, range(job.blocks), threading.Event()))
    assert sorted(f.index for f in finished) == list(range(job.blocks))


def test_the_serial_executor_reads_nothing_ahead(tmp_path):
    with pytest.raises(BlockFailed, match="nothing is read while 0 is computed"):
        list(open_executor("serial", 1).run(AheadJob(tmp_path, 0.1), range(8), threading.Event()))


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["threads", "dask"])
def test_fifty_milliseconds_a_chunk_cost_less_than_a_tenth(executor, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from latency import compare

    assert compare(executor, chunks=6, latency=0.05, computing=0.5) < 1.1
