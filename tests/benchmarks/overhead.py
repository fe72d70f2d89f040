"""Engine wall time over the bare forward calls on the same tiles, in one run, for each backend.

The published U-Net (base 64, He initialisation) on eight slices of 512 x 512. Bare calls and engine take turns,
so that both see the same machine; the ratio is what counts, the seconds are for orientation. Bare calls are those
that the engine makes: the same tiles, cropped alike, by one thread. On a GPU one over the ratio is the share of the
time for which the network alone keeps it busy; it may exceed one, since two feeders overlap what one thread cannot.

    python tests/benchmarks/overhead.py [STACK.tif] [--base 64] [--slices 8] [--rounds 2] [--device cuda]
        [--backends torch compile openvino onnxruntime]

Takes about four minutes a round and backend on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import tiler
from tiler.geometry import tiles_of
from tiler.models import PredictorOptions, UNet, open_predictor

SAMPLE = Path(__file__).parents[2] / "data_samples" / "sstem.tif"


def calls_of(plan):
    """A tile and the box of its output that is wanted, for each call of the engine."""
    image = torch.rand(1, 1, *plan.tile[1:])
    return [(image, tile.crop) for block in plan.grid
            for tile in tiles_of(block, plan.tile, plan.footprint, plan.canvas)]


def bare(predictor, calls) -> float:
    """Seconds of the network alone, on tiles that are ready."""
    begun = time.perf_counter()
    with predictor.network.session() as session:
        for tile, crop in calls:
            image = tile.to(session.feeder.device)
            if predictor.capabilities.crops is not None:
                result = session.cropped(image, type(crop)(crop.spans[1:]))
            else:
                result = session(image)
        session.download(result)  # waits for all of them
    return time.perf_counter() - begun


def engine(stack, predictor, folder: Path, slices: int) -> float:
    """Seconds of all that `tiler segment` does once the network is open: plan, read, run, write, journal."""
    begun = time.perf_counter()
    tiler.segment(stack, predictor, folder / f"{begun}.zarr", roi=f"0:{slices},0:512,0:512")
    return time.perf_counter() - begun


def compare(wanted: argparse.Namespace, backend: str) -> float:
    """Median of engine over bare forward calls with one backend; prints each round."""
    options = PredictorOptions(head="softmax", backend=backend, device=wanted.device, precision=wanted.precision)
    predictor = open_predictor(UNet(base=wanted.base).eval(), options=options)
    calls = calls_of(tiler.plan(wanted.stack, predictor, roi=f"0:{wanted.slices},0:512,0:512"))
    print(f"{backend} on {predictor.network.device}: base {wanted.base}, {len(calls)} tiles of {calls[0][0].shape[2]}, "
          f"{torch.get_num_threads()} threads")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        engine(wanted.stack, predictor, Path(folder), 1)  # every program is compiled now
        bare(predictor, calls[:1])
        for _ in range(wanted.rounds):
            before = bare(predictor, calls)
            with_engine = engine(wanted.stack, predictor, Path(folder), wanted.slices)
            alone = (before + bare(predictor, calls)) / 2
            ratios.append(with_engine / alone)
            print(f"engine {with_engine:7.2f} s   bare forward calls {alone:7.2f} s   ratio {ratios[-1]:.3f}")
    return float(np.median(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stack", nargs="?", default=str(SAMPLE))
    parser.add_argument("--base", type=int, default=64)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--backends", nargs="+", default=["torch"])
    wanted = parser.parse_args()
    for backend in wanted.backends:
        print(f"{backend}: median ratio {compare(wanted, backend):.3f} (at most 1.05 wanted)", flush=True)


if __name__ == "__main__":
    main()
