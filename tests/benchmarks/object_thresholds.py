"""Where to cut probabilities into objects: average precision, VOI and adapted Rand error against the threshold.

    python tests/benchmarks/object_thresholds.py IMAGES.tif LABELS.tif --weights unet-isbi2012 --slices 20:25

The threshold with the best score goes into the weights as `best_threshold`. Labels of two values stand for their
connected components. For networks of slices, whose scores are averaged; `fib25_scores.py` scores a volume.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from scipy import ndimage

import tiler
from tiler.metrics.contingency import ContingencyTable
from tiler.metrics.cremi import score_cremi
from tiler.metrics.instances import Overlap
from tiler.models.training.options import parse_slices

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SCORES = ("AP50", "VOI split", "VOI merge", "VOI", "adapted Rand error")


class Given(torch.nn.Module):
    """A network that returns the probabilities that it is given, and their complement as the first class."""

    in_channels, ndim = 1, 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([1 - x, x], 1)


def main() -> None:
    given = arguments()
    part = slice(*parse_slices(given.slices)) if given.slices else slice(None)
    images, labels = (tifffile.imread(path)[part] for path in (given.images, given.labels))
    model = tiler.open_model("unet", weights=given.weights, average=given.average)
    found = np.asarray(tiler.segment(images, model, axes="zyx", memory=given.memory))
    truth = separate(labels)
    print(f"| objects by | threshold | {' | '.join(SCORES)} |\n|---|---|{'---|' * len(SCORES)}")
    for way, options in ways(given.heights):
        for threshold in given.thresholds:
            objects = objects_of(found, threshold=threshold, min_size=given.min_size, grow=given.grow,
                                 memory=given.memory, **options)
            cells = " | ".join(f"{value:.4f}" for value in scores(truth, objects))
            print(f"| {way} | {threshold} | {cells} |", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--memory", default="auto")
    parser.add_argument("--average", default="none")
    parser.add_argument("--slices", metavar="A:B")
    parser.add_argument("--thresholds", nargs="+", type=float, default=THRESHOLDS)
    parser.add_argument("--heights", nargs="*", type=float, default=[], metavar="H",
                        help="also by watershed, with seeds of these heights")
    parser.add_argument("--min-size", type=int, default=0, metavar="VOXELS")
    parser.add_argument("--grow", type=int, default=0, metavar="VOXELS")
    return parser.parse_args()


def ways(heights: list[float]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ways to make objects, with their options."""
    yield "components", {}
    for height in heights:
        yield f"watershed, height {height:g}", {"split": "watershed", "seed_height": height}


def separate(labels: np.ndarray) -> np.ndarray:
    """``(z, y, x)`` ids: the labels themselves, or the components of labels of two values in each slice."""
    if len(np.unique(labels)) > 2:
        return labels
    structure = ndimage.generate_binary_structure(3, 1)
    structure[[0, 2]] = False
    return ndimage.label(labels != 0, structure)[0]


def objects_of(probabilities: np.ndarray, **options: Any) -> np.ndarray:
    """``(z, y, x)`` ids: objects as `tiler segment` makes them of these probabilities."""
    return np.asarray(tiler.segment(probabilities, Given(), axes="zyx", kind="instances", classes="1",
                                    head="none", normalise="0,1", **options))


def scores(truth: np.ndarray, objects: np.ndarray) -> tuple[float, ...]:
    """The mean of `SCORES` over slices."""
    return tuple(np.mean([_scores(*pair) for pair in zip(truth, objects, strict=True)], axis=0).tolist())


def _scores(truth: np.ndarray, objects: np.ndarray) -> tuple[float, ...]:
    table = ContingencyTable.of(truth, objects)
    cremi = score_cremi(table)
    return (Overlap.of(table).average_precision(0.5), cremi.voi.split, cremi.voi.merge, cremi.voi.total,
            cremi.rand.error)


if __name__ == "__main__":
    main()
