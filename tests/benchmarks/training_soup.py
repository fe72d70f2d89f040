"""Average several trainings of one U-Net, value by value, and measure the statistics of its batch norms anew.

    python tests/benchmarks/training_soup.py WEIGHTS.safetensors ... --images IMAGES.tif -o OUTPUT.safetensors

The trainings must have begun from the same weights: then their average generalises better than they do (Wortsman et
al.: Model soups, ICML 2022, arXiv:2203.05482). What the batch norms kept are statistics of the networks before, on
deformed tiles; those of the average are measured as inference sees the images, whole slices on their mirrored canvas
in all eight orientations (Izmailov et al.: Averaging weights leads to wider optima, UAI 2018, arXiv:1803.05407,
section 3.2). With one file only the statistics change.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
import torch
from safetensors.torch import load_file
from torch import nn

from tiler.models import UNet, WeightsCard, read_card, save_weights

CONTEXT = 94
"""Around a slice; more than the 92 pixels that the network sees, so that 512 pixels become a legal tile."""


def averaged(paths: list[Path]) -> dict[str, torch.Tensor]:
    states = [load_file(path) for path in paths]
    return {name: torch.stack([state[name].double() for state in states]).mean(0).float() for name in states[0]}


def orientations(images: np.ndarray, card: WeightsCard) -> Iterator[torch.Tensor]:
    """``(1, 1, y, x)`` float32: every slice, normalised, in eight orientations."""
    scaling = card.normalisation
    for image in (images / scaling.scale - scaling.mean[0]) / scaling.std[0]:
        canvas = torch.from_numpy(np.pad(image, CONTEXT, "reflect").astype(np.float32))[None, None]
        for turn in range(4):
            turned = canvas.rot90(turn, (2, 3))
            yield turned
            yield turned.flip(3)


def measure_statistics(network: nn.Module, inputs: Iterator[torch.Tensor]) -> None:
    """Replace what the batch norms kept by the plain mean over the inputs."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    with torch.inference_mode():
        for image in inputs:
            network(image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--images", type=Path, required=True, help="that the trainings were made on")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--half", action="store_true", help="store float16")
    given = parser.parse_args()
    card = read_card(given.weights[0])
    network = UNet(**card.arguments)
    network.load_state_dict(averaged(given.weights), strict=False)  # but for the counters of batch norm
    measure_statistics(network, orientations(tifffile.imread(given.images), card))
    made = {"averaged": [dict(read_card(path).provenance) for path in given.weights]}
    save_weights(given.output, network.state_dict(), replace(card, provenance=made),
                 torch.float16 if given.half else torch.float32)


if __name__ == "__main__":
    main()
