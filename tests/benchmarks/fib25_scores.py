"""Objects of a boundary map in 3-D, and of the grey values themselves, scored by CREMI's VOI and adapted Rand error.

    tiler segment parts/test-images.tif --axes zyx --model unet --weights fib25.safetensors -o p.npy
    python tests/benchmarks/fib25_scores.py p.npy parts/test-bodies.tif --thresholds 0.8
    python tests/benchmarks/fib25_scores.py parts/test-images.tif parts/test-bodies.tif --thresholds 0.5

Objects are connected components (6) above the threshold, of at least 100 voxels, grown by 2. Grey values count as
shares of 255.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from scipy import ndimage
from skimage.segmentation import expand_labels

from tiler.metrics.contingency import ContingencyTable
from tiler.metrics.cremi import score_cremi


def main() -> None:
    given = arguments()
    values = np.load(given.values) if given.values.suffix == ".npy" else tifffile.imread(given.values) / 255
    bodies = tifffile.imread(given.bodies)
    print("| threshold | objects | VOI split | VOI merge | VOI | adapted Rand error |\n|---|---|---|---|---|---|")
    for threshold in given.thresholds:
        objects = objects_of(values, threshold, given.min_size, given.grow)
        scores = score_cremi(ContingencyTable.of(bodies, objects))
        print(f"| {threshold:g} | {len(np.unique(objects)) - 1} | {scores.voi.split:.3f} | {scores.voi.merge:.3f} | "
              f"{scores.voi.total:.3f} | {scores.rand.error:.3f} |", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("values", type=Path)
    parser.add_argument("bodies", type=Path)
    parser.add_argument("--thresholds", nargs="+", type=float, required=True)
    parser.add_argument("--min-size", type=int, default=100, metavar="VOXELS")
    parser.add_argument("--grow", type=int, default=2, metavar="VOXELS")
    return parser.parse_args()


def objects_of(values: npt.NDArray[np.floating], threshold: float, least: int, grow: int) -> npt.NDArray[np.int32]:
    """``(z, y, x)``: components above a threshold, without small ones, grown."""
    labelled, count = ndimage.label(values > threshold)
    small = np.bincount(labelled.ravel(), minlength=count + 1) < least
    return expand_labels(np.where(small[labelled], 0, labelled), grow)


if __name__ == "__main__":
    main()
