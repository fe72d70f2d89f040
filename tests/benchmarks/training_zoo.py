"""Networks of several families trained for the same time with `tiler train`, scored; and the speed of every network.

    python tests/benchmarks/training_zoo.py IMAGES.tif LABELS.tif FOLDER --time 30min
    python tests/benchmarks/training_zoo.py IMAGES.tif LABELS.tif FOLDER --score
    python tests/benchmarks/training_zoo.py --speed

The slices of --test (25:30) are cut off first: nothing trains on them, and nothing is chosen by them. Each network
has its own loss; the recipe is the default one for all of them, or with `--recipe own` what was published with each.
The time is the processor's, as in training_recipes.py. Prints one row a network, as Markdown; with --score of weights
that are there already.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from torch.utils.flop_counter import FlopCounterMode
from training_recipes import train_alike

import tiler
from tiler.models import read_card
from tiler.models.aten.modules import on_meta
from tiler.models.training.networks import Network
from tiler.models.training.options import parse_slices
from tiler.models.training.rehearsal import Rehearsal
from tiler.models.training.validation import SCORES
from tiler.models.zoo import registry

NETWORKS = {
    "unet": ["--base", 16],
    "unetpp-ds": ["--base", 8],
    "unet3plus-ds": ["--base", 8],
    "ciresan-n4": ["--base", 16, "--model-arg", "hidden=64"],
}
"""Small widths, which a CPU trains in an hour."""
TILE, FRAME, PATCHES, REPEATS = 512, 224, 32, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("labels", type=Path, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--time", default="30min", help="of one thread, for each network")
    parser.add_argument("--validate", default="20:25")
    parser.add_argument("--test", default="25:30")
    parser.add_argument("--recipe", default="default", help="of all of them, or own")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--score", action="store_true", help="train nothing")
    parser.add_argument("--speed", nargs="*", metavar="NAME", help="only measure speed, of all networks or of these")
    given = parser.parse_args()
    if given.speed is not None:
        print_speed(given.speed or registry.names())
    elif given.folder is None:
        parser.error("IMAGES, LABELS and FOLDER are needed, or --speed")
    else:
        train_and_score(given)


def train_and_score(given: argparse.Namespace) -> None:
    given.folder.mkdir(exist_ok=True)
    test = slice(*parse_slices(given.test))
    images, labels = (tifffile.imread(path) for path in (given.images, given.labels))
    if not given.score:
        for name, stack in (("images", images), ("labels", labels)):
            path = given.folder / f"{name}.tif"
            tifffile.imwrite(path, np.delete(stack, test, 0), photometric="minisblack")
            setattr(given, name, path)
        own = given.recipe == "own"
        train_alike(given, {name: [*NETWORKS[name], "--model", name, *([] if own else ["--recipe", given.recipe])]
                               for name in given.networks})
    columns = ("network", "parameters", "recipe", "loss", "steps", *SCORES)
    print_row(columns)
    print_row(["---"] * len(columns))
    for name in given.networks:
        print_row(score_row(name, given.folder / f"{name}.safetensors", images[test], labels[test]))


def score_row(name: str, weights: Path, images: np.ndarray, labels: np.ndarray) -> list[str]:
    card = read_card(weights)
    found = tiler.segment(images, name, weights=weights, axes="zyx")
    scores = tiler.evaluate(found, labels).scores
    module = registry.build(name, **card.arguments)
    recipe = card.provenance["recipe"]
    return [name, f"{count(module):,}", recipe["name"], recipe["loss"],
            str(card.provenance["steps"]), *(f"{scores[score]:.5f}" for score in SCORES)]


def print_speed(names: list[str] | tuple[str, ...]) -> None:
    """One forward pass of each network as published, on the CPU in float32, per pixel of its output."""
    print(f"{torch.get_num_threads()} threads")
    columns = ("network", "parameters", "input", "output", "kMAC/pixel", "us/pixel")
    print_row(columns)
    print_row(["---"] * len(columns))
    for name in names:
        module = registry.build(name).eval()
        whole = registry.describe(name).exactness == "WHOLE"
        size = FRAME if whole else Rehearsal(Network.registered(name, module), 1).nearest(TILE)
        print_row(speed_row(name, module, torch.randn(1, module.arguments["in_channels"], size, size)))
        if hasattr(module, "classify"):
            window = module.layout.window
            patches = torch.randn(PATCHES, module.arguments["in_channels"], window, window)
            print_row(speed_row(f"{name}, patches", module, patches, "classify"))


@torch.inference_mode()
def speed_row(name: str, module: torch.nn.Module, images: torch.Tensor, method: str = "forward") -> list[str]:
    """Classifiers of a whole image count the pixels of their input, and those of patches one a patch."""
    run = getattr(module, method)
    out = run(images)
    spent = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        run(images)
        spent.append(time.perf_counter() - begun)
    pixels = out[:, 0].numel() if out.ndim == 4 or len(images) > 1 else images[0, 0].numel()
    sizes = [" x ".join(map(str, tensor.shape[2:])) or "1" for tensor in (images, out)]
    return [name, f"{count(module):,}", *sizes, f"{macs(module, images, method) / pixels / 1e3:.4g}",
            f"{min(spent) / pixels * 1e6:.3g}"]


def macs(module: torch.nn.Module, images: torch.Tensor, method: str) -> float:
    """Multiplications of a pass, counted without data."""
    with FlopCounterMode(display=False) as counter:
        getattr(on_meta(module), method)(images.to("meta"))
    return counter.get_total_flops() / 2


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def print_row(cells: list[str] | tuple[str, ...]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
