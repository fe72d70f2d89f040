"""Plain components, `--split watershed` and `--link` on ISBI-2012, scored as objects.

    python tests/benchmarks/objects_isbi.py ../shared/data/isbi2012 [--probabilities p.npy]

Thresholds, heights and overlaps are chosen on slices 20 to 24, and what scores best there is scored on 25 to 29. By
section, the truth is the cells of the labels, connected within their section, and the best AP50 (`instances`) decides.
Through the volume there is no truth of its own: the sections of the labels are linked by `tiler` itself, by an
overlap of 0.1, and the adapted Rand error (`snemi3d`) decides. This favours links over components of the volume.
The bundled weights were trained on slices 0 to 24, so slices 20 to 24 choose only how objects are made.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tifffile

import tiler
from tiler.geometry import Footprint, Reach
from tiler.ports import Capabilities, Cost

FIRST, MIDDLE, LAST = 20, 25, 30
THRESHOLDS = (0.5, 0.6, 0.7, 0.8)
SPLITS: dict[str, list[dict[str, Any]]] = {
    "plain components": [{}],
    "watershed, distance": [{"split": "watershed", "seed_height": height} for height in (2, 8)],
    "watershed, probability": [{"split": "watershed", "seeds": "probability", "seed_height": height}
                               for height in (0.1, 0.3)]}
THROUGH: dict[str, list[dict[str, Any]]] = {
    "components, 6 neighbours": [{"connectivity": 6}], "linked": [{"link": overlap} for overlap in (0.1, 0.25, 0.5)]}


class AsItIs:
    """A stand-in for a network whose input is its output already: one probability, between 0 and 1."""

    border = "zero"
    classes = ("cell",)
    in_channels = 1
    dtype = np.dtype(np.float32)
    expects = None
    capabilities = Capabilities()
    footprint = Footprint.of([Reach(0, 0, 0, 0, 1)] * 3)
    identity: ClassVar = {"name": "as it is"}

    def cost(self, tile, batch):
        return Cost(1.0, 1)

    def with_statistics(self, mean, std):
        return self

    def __call__(self, batch):
        return batch.astype(np.float32)


def made(volume: np.ndarray, threshold: float, rule: dict[str, Any]) -> np.ndarray:
    """Objects of probabilities; within sections unless the rule says otherwise."""
    return tiler.segment(volume, AsItIs(), kind="instances", threshold=threshold, **{"connectivity": 4, **rule})


def by_section(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """AP50, and the adapted Rand error, where objects of sections are compared."""
    return (tiler.evaluate(found, truth, "instances").scores["average_precision_50"],
            tiler.evaluate(found, truth, "snemi3d").scores["adapted_rand_error"])


def table(title: str, rules: dict[str, list[dict[str, Any]]], probability: np.ndarray, truth: np.ndarray,
          by_ap: bool) -> None:
    """Choose the best of each kind on the first slices, and score it on the last ones."""
    chosen_on, scored_on = slice(0, MIDDLE - FIRST), slice(MIDDLE - FIRST, LAST - FIRST)
    print(f"\n| {title} | chosen | AP50, slices 20-24 | AP50, 25-29 | Rand error, 20-24 | Rand error, 25-29 |\n"
          "|---|---|---|---|---|---|", flush=True)
    for name, variants in rules.items():
        tried = []
        for rule in variants:
            for threshold in THRESHOLDS:
                ap, error = by_section(made(probability[chosen_on], threshold, rule), truth[chosen_on])
                tried.append((-ap if by_ap else error, threshold, rule, ap, error))
        _, threshold, rule, ap, error = min(tried, key=lambda each: each[0])
        last = by_section(made(probability[scored_on], threshold, rule), truth[scored_on])
        options = ", ".join(f"{key} {value}" for key, value in {"threshold": threshold, **rule}.items()
                            if key not in ("split", "seeds", "connectivity"))
        print(f"| {name} | {options} | {ap:.3f} | {last[0]:.3f} | {error:.4f} | {last[1]:.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="with train-volume.tif and train-labels.tif")
    parser.add_argument("--probabilities", type=Path, help="of slices 20 to 29, if they were computed before")
    given = parser.parse_args()
    if given.probabilities is None:
        probability = tiler.segment(given.folder / "train-volume.tif", "unet", roi=f"z={FIRST}:{LAST}")
    else:
        probability = np.load(given.probabilities)
    labels = (tifffile.imread(given.folder / "train-labels.tif")[FIRST:LAST] > 0).astype(np.float32)
    table("by section", SPLITS, probability, made(labels, 0.5, {}), by_ap=True)
    table("through the volume", THROUGH, probability, made(labels, 0.5, {"link": 0.1}), by_ap=False)


if __name__ == "__main__":
    main()
