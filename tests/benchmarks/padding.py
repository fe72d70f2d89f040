"""Time of a run on a stack a third of which is padding, with `--background` and `--mask`, as a share of the plain run.

    python tests/benchmarks/padding.py [--rounds 3] [--size 1152] [--model unet]

The padding is a band of a third of every section, as after an alignment. Runs are interleaved, so that a busy machine
slows all of them; the share of each round and the medians are printed. The aim is at most 0.72.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from torch import nn

import tiler


def network() -> nn.Module:
    """A network that is as slow as it has to be for the time to be its own."""
    inner = [layer for _ in range(4) for layer in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), *inner, nn.Conv2d(16, 2, 1))


def stack(size: int) -> np.ndarray:
    """Two sections of noise with a band of zeros at their right."""
    volume = np.random.default_rng(0).integers(1, 250, (2, size, size), dtype=np.uint8)
    volume[:, :, size - size // 3:] = 0
    return volume


def timed(volume: np.ndarray, model: object, **options: object) -> float:
    begun = time.perf_counter()
    tiler.segment(volume, model, **options)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1152)
    parser.add_argument("--model", help="a registered network; by default five convolutions of 16 channels")
    given = parser.parse_args()
    volume = stack(given.size)
    model = tiler.open_model(given.model or network(), head="softmax", normalise="volume")
    ways = {"plain": {}, "background": {"background": 0}, "auto": {"background": "auto"},
            "mask": {"mask": (volume > 0).astype(np.uint8)}}
    timed(volume[:1, :700, :700], model)
    shares: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(given.rounds):
        seconds = {name: timed(volume, model, **options) for name, options in ways.items()}
        for name, value in seconds.items():
            shares[name].append(value / seconds["plain"])
        told = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
        print(f"round {number + 1}: {told}", flush=True)
    told = ", ".join(f"{name} {statistics.median(each):.3f}" for name, each in shares.items())
    print(f"share of the plain run: {told}")


if __name__ == "__main__":
    main()
