"""Cells of a time series: the Cell Tracking Challenge's SEG of connected components, and of a watershed of them.

    python tests/benchmarks/dic_hela.py 01-frames.tif 01-st-seg.tif --frames 60:84
    python tests/benchmarks/dic_hela.py 01-gt-frames.tif 01-gt-seg.tif --frames 7:8 --averages none d4

SEG is the mean, over all objects of the labels in all frames, of the intersection over union with the segment that
covers more than half of the object; 0 for an object that none covers. Every frame is scored by itself: ids that come
back in the next frame are other objects.

M. Maska et al.: A benchmark for comparison of cell tracking algorithms. Bioinformatics 2014.
doi:10.1093/bioinformatics/btu080
V. Ulman et al.: An objective comparison of cell-tracking algorithms. Nature Methods 2017. doi:10.1038/nmeth.4473
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

import tiler
from tiler.geometry import Box, Span
from tiler.metrics.contingency import ContingencyTable
from tiler.metrics.instances import Overlap
from tiler.models.training.options import parse_slices
from tiler.objects.connectivity import Connectivity
from tiler.objects.splitting import Watershed

FLAT = Connectivity(4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames_file", type=Path, metavar="FRAMES")
    parser.add_argument("labels_file", type=Path, metavar="LABELS")
    parser.add_argument("--frames", metavar="A:B", help="frames A to B - 1 of both files; all by default")
    parser.add_argument("--weights", default="dic-hela")
    parser.add_argument("--averages", nargs="+", default=["none", "d4"])
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--heights", nargs="+", type=float, default=[10.0], metavar="PIXELS",
                        help="least heights of a peak of the distance to the background")
    parser.add_argument("--least", type=int, default=500, metavar="PIXELS", help="smaller objects are left out")
    given = parser.parse_args()
    part = slice(*parse_slices(given.frames)) if given.frames else slice(None)
    frames, labels = (tifffile.imread(path)[part] for path in (given.frames_file, given.labels_file))
    print("| averaging | objects by | SEG | in the labels | found |\n|---|---|---|---|---|")
    for average in given.averages:
        cells = np.asarray(tiler.segment(frames, "unet", weights=given.weights, average=average, axes="zyx"))
        masks = cells > given.threshold
        ways = {"components": [components(mask) for mask in masks]}
        ways |= {f"watershed, height {height:g}": [split(mask, height) for mask in masks] for height in given.heights}
        for way, found in ways.items():
            kept = [without_small(frame, given.least) for frame in found]
            score, objects, count = seg(labels, kept)
            print(f"| {average} | {way} | {score:.4f} | {objects} | {count} |", flush=True)


def components(mask: np.ndarray) -> np.ndarray:
    """``(y, x)`` 4-connected pieces, numbered from 1."""
    return ndimage.label(mask)[0]


def split(mask: np.ndarray, height: float) -> np.ndarray:
    """``(y, x)`` pieces, split where the distance to the background has several peaks of that height."""
    pieces, watershed = components(mask), Watershed(height, FLAT)
    found, count = np.zeros_like(pieces), 0
    for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
        inside = pieces[rows, columns] == number
        box = Box((Span(0, 1), Span(rows.start, rows.stop), Span(columns.start, columns.stop)))
        parts = watershed.parts(inside[None], box, (1, *mask.shape))[0].astype(found.dtype)
        found[rows, columns] += np.where(parts, parts + count, 0).astype(found.dtype)
        count += int(parts.max())
    return found


def without_small(found: np.ndarray, least: int) -> np.ndarray:
    sizes = np.bincount(found.ravel())
    return np.where((sizes < least)[found], 0, found)


def seg(labels: np.ndarray, found: list[np.ndarray]) -> tuple[float, int, int]:
    """SEG, the number of objects in the labels, and that of segments."""
    overlaps = list(overlaps_of(labels, found))
    objects = sum(overlap.objects for overlap in overlaps)
    return sum(overlap.seg * overlap.objects for overlap in overlaps) / objects, objects, sum(o.found for o in overlaps)


def overlaps_of(labels: np.ndarray, found: list[np.ndarray]) -> Iterator[Overlap]:
    for truth, proposal in zip(labels, found, strict=True):
        if truth.any():
            yield Overlap.of(ContingencyTable.of(truth, proposal))


if __name__ == "__main__":
    main()
