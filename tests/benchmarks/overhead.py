"""Engine wall time over the bare forward calls on the same tiles, in one run.

The published U-Net (base 64, He initialisation) on eight slices of 512 x 512. Bare calls and engine take turns,
so that both see the same machine; the ratio is what counts, the seconds are for orientation.

    python tests/benchmarks/overhead.py [STACK.tif] [--base 64] [--slices 8] [--rounds 2] [--backends torch openvino]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import tiler
from tiler.models import PredictorOptions, UNet, open_predictor

SAMPLE = Path(__file__).parents[2] / "data_samples" / "sstem.tif"


def bare(predictor, tiles) -> float:
    """Seconds of the network alone, on tiles that are ready."""
    network = predictor.network
    begun = time.perf_counter()
    with network.session() as session:
        for tile in tiles:
            session(tile)
    return time.perf_counter() - begun


def engine(stack, predictor, folder: Path, slices: int) -> float:
    """Seconds of all that `tiler segment` does once the network is open: plan, read, run, write, journal."""
    begun = time.perf_counter()
    tiler.segment(stack, predictor, folder / f"{begun}.zarr", roi=f"0:{slices},0:512,0:512")
    return time.perf_counter() - begun


def compare(wanted: argparse.Namespace, backend: str) -> float:
    """Median of engine over bare forward calls with one backend; prints each round."""
    options = PredictorOptions(head="softmax", backend=backend)
    predictor = open_predictor(UNet(base=wanted.base).eval(), options=options)
    plan = tiler.plan(wanted.stack, predictor, roi=f"0:{wanted.slices},0:512,0:512")
    tiles = [torch.rand(1, 1, *plan.tile[1:]) for _ in range(plan.estimate.tiles)]
    bare(predictor, tiles[:1])
    print(f"{backend}: base {wanted.base}, {len(tiles)} tiles of {plan.tile[1]}, {torch.get_num_threads()} threads")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(wanted.rounds):
            before = bare(predictor, tiles)
            with_engine = engine(wanted.stack, predictor, Path(folder), wanted.slices)
            alone = (before + bare(predictor, tiles)) / 2
            ratios.append(with_engine / alone)
            print(f"engine {with_engine:7.2f} s   bare forward calls {alone:7.2f} s   ratio {ratios[-1]:.3f}")
    return float(np.median(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stack", nargs="?", default=str(SAMPLE))
    parser.add_argument("--base", type=int, default=64)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--backends", nargs="+", default=["torch"])
    wanted = parser.parse_args()
    for backend in wanted.backends:
        print(f"{backend}: median ratio {compare(wanted, backend):.3f} (at most 1.05 wanted)")


if __name__ == "__main__":
    main()
