"""Train with several recipes for the same processor time, and draw their curves.

    python tests/benchmarks/training_recipes.py IMAGES.tif LABELS.tif FOLDER --time 30min --validate 20:25
    python tests/benchmarks/training_recipes.py IMAGES.tif LABELS.tif FOLDER --draw

Each recipe trains on one thread for as many steps as that thread makes in the time; what a step takes is measured
first, in seconds of the processor, which a busy machine does not lengthen as it does those of the clock. Writes one
weights file and CSV a recipe, and recipes.png; --draw only draws.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from tiler.models.training.catalogue import RECIPES
from tiler.models.training.options import parse_time

mpl.use("agg")

REHEARSALS = (2, 10)
"""Steps of the two runs whose difference is what a step takes."""
SCORES = ("loss", "v_rand_thinned", "pixel_error")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--time", default="30min", help="of one thread, for each recipe")
    parser.add_argument("--validate", default="20:25")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["default", "paper"])
    parser.add_argument("--base", default="32")
    parser.add_argument("--draw", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(exist_ok=True)
    if not given.draw:
        train_alike(given, {name: ["--recipe", name, "--base", given.base] for name in given.recipes})
    draw(given.folder, given.recipes, parse_time(given.time) / 60)


def train_alike(given: argparse.Namespace, runs: Mapping[str, list[object]]) -> None:
    """One `tiler train` of that time each; ``runs`` holds the options of each by the name of its weights."""
    for name, options in runs.items():
        command = ["train", given.images, given.labels, "--threads", 1, "--overwrite", "-q", *options]
        seconds = seconds_a_step(command, given.folder / "rehearsal.safetensors")
        steps = round(parse_time(given.time) / seconds)
        print(f"{name}: {steps} steps of {seconds:.2f} s of one thread", flush=True)
        output = given.folder / f"{name}.safetensors"
        run([*command, "-o", output, "--validate", given.validate, "--steps", steps])


def seconds_a_step(command: list[object], output: Path) -> float:
    """Processor time of a run without its start and its end."""
    few, many = REHEARSALS
    spent = [run([*command, "-o", output, "--steps", steps]) for steps in REHEARSALS]
    return (spent[1] - spent[0]) / (many - few)


def run(arguments: list[object]) -> float:
    """Processor seconds of the command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "tiler.cli", *map(str, arguments)], check=False)
    if done.returncode:
        raise SystemExit(f"tiler {' '.join(map(str, arguments))} ended with {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def draw(folder: Path, names: list[str], minutes: float) -> None:
    figure, axes = plt.subplots(1, len(SCORES), figsize=(15, 4.2), dpi=130, layout="constrained")
    for name in names:
        with (folder / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        of_step = minutes / int(rows[-1]["step"])
        for ax, score in zip(axes, SCORES, strict=True):
            points = [(int(row["step"]) * of_step, float(row[score])) for row in rows if row[score]]
            ax.plot(*zip(*points, strict=True), label=name, marker="." if score != "loss" else None)
    for ax, score in zip(axes, SCORES, strict=True):
        ax.set(xlabel="minutes of one thread", ylabel=score)
        ax.legend()
    figure.savefig(folder / "recipes.png")


if __name__ == "__main__":
    main()
