"""What retries, times in the journal, listeners and claims cost the engine, as a ratio in one run.

Plain runs without any of them and runs with all of them take turns over the same slices; the ratio is that of processor
seconds of the process, which other programs on the machine disturb least. Wall seconds are for orientation.

    python tests/benchmarks/parts_overhead.py [STACK.tif] [--base 32] [--slices 8] [--rounds 3] [--block 128]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import tiler
from tiler.cli.progress import All, JsonLines, MinuteLog
from tiler.jobs.tried import SECONDS, Tried
from tiler.models import PredictorOptions, UNet, open_predictor
from tiler.running import progress

SAMPLE = Path(__file__).parents[2] / "data_samples" / "sstem.tif"


class Bare(Tried):
    """The job as it is, with seconds that nobody measured."""

    def read(self, index):
        return self.work.read(index)

    def compute(self, index, window):
        return self.work.compute(index, window)

    def write(self, index, result):
        return {**self.work.write(index, result), SECONDS: [0.0, 0.0, 0.0]}


class Program(JsonLines):
    """JSON lines that are made and not printed."""

    def _say(self, event, **content):
        json.dumps({"event": event, **content})


def plain(*arguments, **options):
    """A run without any of it."""
    progress.Tried = Bare
    try:
        tiler.segment(*arguments, **options)
    finally:
        progress.Tried = Tried


def full(*arguments, **options):
    """A run with all of it."""
    tiler.segment(*arguments, claim=True, listener=All((Program(), MinuteLog())), **options)


def timed(run, *arguments, **options) -> tuple[float, float]:
    """Processor and wall seconds."""
    before = time.process_time(), time.perf_counter()
    run(*arguments, **options)
    return time.process_time() - before[0], time.perf_counter() - before[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stack", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--base", type=int, default=32)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--block", default="128")
    wanted = parser.parse_args()
    predictor = open_predictor(UNet(base=wanted.base).eval(), options=PredictorOptions(head="softmax"))
    options = {"roi": f"0:{wanted.slices},0:512,0:512", "block": wanted.block}
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        blocks = len(tiler.plan(wanted.stack, predictor, **options).grid)
        print(f"U-Net of base {wanted.base}, {blocks} blocks, {torch.get_num_threads()} threads")
        timed(full, wanted.stack, predictor, Path(folder, "warm.zarr"), **options)
        for number in range(wanted.rounds):
            alone = timed(plain, wanted.stack, predictor, Path(folder, f"plain{number}.zarr"), **options)
            whole = timed(full, wanted.stack, predictor, Path(folder, f"full{number}.zarr"), **options)
            ratios.append(whole[0] / alone[0])
            print(f"processor seconds {whole[0]:.2f} with, {alone[0]:.2f} without: {ratios[-1]:.4f} (wall "
                  f"{whole[1]:.2f} and {alone[1]:.2f})")
    print(f"median ratio {np.median(ratios):.4f}")


if __name__ == "__main__":
    main()
