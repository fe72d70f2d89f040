"""Cells of a time series: the Cell Tracking Challenge's SEG of connected components, and of a watershed of them.

    python tests/benchmarks/dic_hela.py 01-frames.tif 01-st-seg.tif --frames 60:84
    python tests/benchmarks/dic_hela.py 01-gt-frames.tif 01-gt-seg.tif --frames 7:8

SEG is the mean, over all objects of the labels in all frames, of the intersection over union with the segment that
covers more than half of the object; 0 for an object that none covers. Every frame is scored by itself: ids that come
back in the next frame are other objects.

M. Maska et al.: A benchmark for comparison of cell tracking algorithms. Bioinformatics 2014.
doi:10.1093/bioinformatics/btu080
V. Ulman et al.: An objective comparison of cell-tracking algorithms. Nature Methods 2017. doi:10.1038/nmeth.4473
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

import tiler
from tiler.metrics.contingency import ContingencyTable
from tiler.metrics.instances import Overlap
from tiler.models.training.options import parse_slices


def main() -> None:
    given = arguments()
    part = slice(*parse_slices(given.frames)) if given.frames else slice(None)
    frames, labels = (tifffile.imread(path)[part] for path in (given.images, given.labels))
    common: dict[str, Any] = {"weights": given.weights, "axes": "zyx", "kind": "instances", "connectivity": 4,
                              "min_size": given.min_size}
    ways = {"components": {}} | {f"watershed, height {height:g}": {"split": "watershed", "seed_height": height}
                                 for height in given.heights}
    print("| averaging | objects by | SEG | in the labels | found |\n|---|---|---|---|---|")
    for average in given.averages:
        for way, options in ways.items():
            found = np.asarray(tiler.segment(frames, "unet", average=average, **common, **options))
            score, objects, segments = seg(labels, found)
            print(f"| {average} | {way} | {score:.4f} | {objects} | {segments} |", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--frames", metavar="A:B", help="frames A to B - 1 of both files; all by default")
    parser.add_argument("--weights", default="dic-hela")
    parser.add_argument("--averages", nargs="+", default=["none", "d4"])
    parser.add_argument("--heights", nargs="+", type=float, default=[6.0], metavar="PIXELS",
                        help="least heights of a peak of the distance to the background")
    parser.add_argument("--min-size", type=int, default=500, metavar="PIXELS", help="smaller objects are left out")
    return parser.parse_args()


def seg(labels: np.ndarray, found: np.ndarray) -> tuple[float, int, int]:
    """SEG, the number of objects in the labels, and that of segments, over all frames ``(t, y, x)``."""
    overlaps = [Overlap.of(ContingencyTable.of(truth, proposal))
                for truth, proposal in zip(labels, found, strict=True) if truth.any()]
    objects = sum(overlap.objects for overlap in overlaps)
    total = sum(overlap.seg * overlap.objects for overlap in overlaps)
    return total / objects, objects, sum(overlap.found for overlap in overlaps)


if __name__ == "__main__":
    main()
