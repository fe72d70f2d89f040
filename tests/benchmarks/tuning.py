"""Expected against measured time of a run, and what the measurement itself takes.

The network is timed as `tiler segment` times it, the plan foretells, and the run is measured, network opened and
closed included only once. A quiet machine is needed: what else computes slows the run and not the forecast.

    python tests/benchmarks/tuning.py [--base 32] [--side 2048] [--slices 4] [--padding same]
        [--backends torch openvino]

Takes about two minutes a backend on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import tiler
from tiler.models import PredictorOptions, UNet, open_predictor
from tiler.planning import speed as tuning


def compare(wanted: argparse.Namespace, backend: str) -> float:
    """Expected over measured seconds; prints both."""
    predictor = open_predictor(UNet(base=wanted.base, padding=wanted.padding).eval(),
                               options=PredictorOptions(head="softmax", backend=backend))
    image = np.random.default_rng(0).random((wanted.slices, wanted.side, wanted.side), dtype=np.float32)
    begun = time.perf_counter()
    plan = tiler.plan(image, predictor)
    planning = time.perf_counter() - begun
    tiler.segment(image[:1], predictor)  # programs are compiled, as the measurement takes them to be
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        tiler.segment(image, predictor, Path(folder) / "out.zarr")
        measured = time.perf_counter() - begun
    assert plan.estimate.seconds is not None
    ratio = plan.estimate.seconds / measured
    print(f"{backend}: tile {plan.tile[1]}, measured in {planning:.1f} s, expected {plan.estimate.seconds:.1f} s, "
          f"took {measured:.1f} s, ratio {ratio:.2f}")
    return ratio


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=int, default=32)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--padding", choices=["same", "valid"], default="same")
    parser.add_argument("--backends", nargs="+", default=["torch"])
    return parser.parse_args(given)


def main() -> None:
    wanted = arguments()
    tuning.WORTH = 0.0  # also where it would not be worth it
    for backend in wanted.backends:
        compare(wanted, backend)


if __name__ == "__main__":
    main()
