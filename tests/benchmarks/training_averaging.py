"""Gain of averaging over flips and rotations: a table of ISBI-2012 scores for none, flip4, d4 and rot7.

    python tests/benchmarks/training_averaging.py WEIGHTS.safetensors IMAGES.tif LABELS.tif --slices 20:25
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import tifffile

import tiler
from tiler.metrics import Isbi2012
from tiler.models.training.options import parse_slices
from tiler.models.training.validation import SCORES

AVERAGES = ("none", "flip4", "d4", "rot7")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--slices", required=True)
    parser.add_argument("--averages", nargs="+", default=AVERAGES)
    given = parser.parse_args()
    first, last = parse_slices(given.slices)
    images, labels = (tifffile.imread(path)[first:last] for path in (given.images, given.labels))
    print(f"| averaging | {' | '.join(SCORES)} | agreement at 0.5 | seconds |")
    print("|---|" + "---|" * (len(SCORES) + 2))
    for average in given.averages:
        begun = time.monotonic()
        found = np.asarray(tiler.segment(images, "unet", weights=given.weights, average=average, axes="zyx"))
        seconds = time.monotonic() - begun
        scores = Isbi2012()
        for proposal, truth in zip(found, labels, strict=True):
            scores.add(proposal, truth)
        values = scores.result().headline()
        cells = " | ".join(f"{values[name]:.6f}" for name in SCORES)
        agreement = np.mean((found >= 0.5) == (labels > 127))
        print(f"| {average} | {cells} | {agreement:.4f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
