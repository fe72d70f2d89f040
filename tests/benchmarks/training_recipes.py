"""Train with several recipes for the same time, side by side, and draw their curves.

    python tests/benchmarks/training_recipes.py IMAGES.tif LABELS.tif FOLDER --time 30min --validate 20:25
    python tests/benchmarks/training_recipes.py IMAGES.tif LABELS.tif FOLDER --draw

Recipes take turns in steps of a tenth of the time, each in a process of its own, so that what else the machine
does meets them alike. Writes one weights file and CSV a recipe, and recipes.png; --draw only draws.
"""

from __future__ import annotations

import argparse
import csv
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from tiler.models.training.catalogue import RECIPES
from tiler.models.training.options import parse_time

mpl.use("agg")

TURNS = 10
SCORES = ("loss", "v_rand_thinned", "pixel_error")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--time", default="30min", help="for each recipe")
    parser.add_argument("--validate", default="20:25")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["default", "paper"])
    parser.add_argument("--base", default="32")
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    if not given.draw:
        train_in_turns(given, {name: ["--recipe", name, "--base", given.base] for name in given.recipes})
    draw(given.folder, given.recipes)


def train_in_turns(given: argparse.Namespace, runs: Mapping[str, list[object]]) -> None:
    """Several `tiler train` of that time each; ``runs`` holds the options of each by the name of its weights."""
    for turn in range(TURNS):
        for name, options in runs.items():
            begin = ["--time", given.time, "--validate", given.validate, "--overwrite", *options]
            how = ["--resume"] if turn else begin
            # The last turn ends with the last step, or there would be no weights.
            limit = parse_time(given.time) / TURNS if turn < TURNS - 1 else math.inf
            output = given.folder / f"{name}.safetensors"
            run_for(limit, ["train", given.images, given.labels, "-o", output, "-q", *how])
            print(f"turn {turn + 1} of {TURNS}: {name}", flush=True)


def run_for(seconds: float, arguments: list[object]) -> None:
    """The command, asked to stop after a while; it keeps a checkpoint."""
    process = subprocess.Popen([sys.executable, "-m", "tiler.cli", *map(str, arguments)])
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() - begun < seconds:
        time.sleep(0.5)
    if process.poll() is None:
        process.terminate()
    if process.wait() not in (0, 130):
        raise SystemExit(f"tiler {' '.join(map(str, arguments))} ended with {process.returncode}")


def draw(folder: Path, names: list[str]) -> None:
    figure, axes = plt.subplots(1, len(SCORES), figsize=(15, 4.2), dpi=130, layout="constrained")
    for name in names:
        with (folder / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        for ax, score in zip(axes, SCORES, strict=True):
            points = [(float(row["seconds"]) / 60, float(row[score])) for row in rows if row[score]]
            ax.plot(*zip(*points, strict=True), label=name, marker="." if score != "loss" else None)
    for ax, score in zip(axes, SCORES, strict=True):
        ax.set(xlabel="minutes", ylabel=score)
        ax.legend()
    figure.savefig(folder / "recipes.png")


if __name__ == "__main__":
    main()
