"""Cost of slow storage: a run in which every chunk arrives 50 ms late, over the same run without delay.

A chunk holds half a second of computation. Both the source and the network are stand-ins which only sleep, so that
what is measured is the engine's reading ahead, on any machine. Chunks of one window come one after the other.

    python tests/benchmarks/latency.py [--chunks 6] [--latency 0.05] [--computing 0.5] [--executors threads dask]

Takes 18 s a run with threads and 9 s with dask's two workers, two runs each.
"""

from __future__ import annotations

import argparse
import logging
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import tiler
from tiler.geometry import Box
from tiler.ports import Calibration
from tiler.testing.predictors import PoolingNet

SIDE = 64
WORKERS = 2


@dataclass(frozen=True)
class Late:
    """A source of zeros in chunks, each of which takes a while."""

    chunks: int
    latency: float
    name, identity, dtype = "late", None, np.dtype(np.uint8)
    read_unit = (1, SIDE, SIDE)

    @property
    def shape(self):
        return (1, 1, self.chunks * SIDE, self.chunks * SIDE)

    @property
    def calibration(self):
        return Calibration.plain("zyx", self.shape[1:])

    def read(self, box: Box):
        touched = math.prod(-(-span.stop // unit) - span.start // unit
                            for span, unit in zip(box.spans, self.read_unit, strict=True))
        time.sleep(self.latency * touched)
        return np.zeros((1, *box.shape), self.dtype)


@dataclass(frozen=True)
class Slow(PoolingNet):
    """A network that takes as long as its input is large."""

    seconds: float = 0.5
    """For a chunk."""

    def __call__(self, batch):
        time.sleep(self.seconds)
        return np.zeros((len(batch), 1, *self.footprint.output(batch.shape[2:])), np.int64)


@contextmanager
def running(executor: str) -> Iterator[dict[str, str]]:
    """Options of an executor; dask's cluster already runs, since its start is not measured."""
    if executor != "dask":
        yield {"executor": executor}
        return
    from distributed import LocalCluster

    with LocalCluster(n_workers=WORKERS, threads_per_worker=2, memory_limit=0, dashboard_address="127.0.0.1:0",
                      silence_logs=logging.CRITICAL) as cluster:
        yield {"executor": executor, "scheduler": cluster.scheduler_address}


def seconds(source: Late, network: Slow, options: dict[str, str]) -> float:
    """Time of one run with one tile per chunk."""
    tile = network.footprint.covering((1, SIDE, SIDE))
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        tiler.segment(source, network, Path(folder) / "out.zarr", tile=tile, block=f"1x{SIDE}x{SIDE}", batch=1,
                      **options)
        return time.perf_counter() - begun


def compare(executor: str, chunks: int, latency: float, computing: float) -> float:
    """Seconds with the latency over seconds without it; prints both."""
    network, late = Slow(seconds=computing), Late(chunks, latency)
    with running(executor) as options:
        seconds(Late(2, 0.0), Slow(seconds=0.0), options)  # everything is imported now
        without, with_it = (seconds(source, network, options) for source in (replace(late, latency=0.0), late))
    print(f"{executor}: {chunks**2} chunks, {without:.2f} s without latency, {with_it:.2f} s with {latency:g} s a "
          f"chunk, ratio {with_it / without:.3f} (at most 1.10 wanted)", flush=True)
    return with_it / without


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=6, help="along each side of the image")
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--computing", type=float, default=0.5)
    parser.add_argument("--executors", nargs="+", default=["threads", "dask"], choices=["threads", "serial", "dask"])
    wanted = parser.parse_args()
    for executor in wanted.executors:
        compare(executor, wanted.chunks, wanted.latency, wanted.computing)


if __name__ == "__main__":
    main()
