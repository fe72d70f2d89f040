"""The moving average of a training that was stopped early, as weights.

    python tests/benchmarks/weights_of_checkpoint.py NAME.training/checkpoint.safetensors -o NAME.safetensors \\
        --voxel-size 10,10,10

`tiler train` itself writes weights only at the end of a run. The card states the step in its provenance.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from tiler.models import save_weights
from tiler.models.loading.weights import file_hash
from tiler.models.training.checkpoint import Checkpoint
from tiler.models.training.provenance import card_of
from tiler.models.training.settings import Settings
from tiler.ports import TrainedOn

AVERAGE = "average/"


def main() -> None:
    given = arguments()
    found = Checkpoint.load(given.checkpoint)
    settings = Settings.from_json(found.settings)
    state = {name.removeprefix(AVERAGE): value for name, value in found.tensors.items() if name.startswith(AVERAGE)}
    z, y, x = map(float, given.voxel_size.split(","))
    card = card_of(settings, given.slices, None, given.licence, TrainedOn((z, y, x)))
    card = replace(card, provenance={**card.provenance, "stopped_after": found.step})
    save_weights(given.output, state, card, torch.float16)
    print(f"step {found.step} of {settings.steps}: {file_hash(given.output)}  {given.output.name}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--voxel-size", required=True, metavar="Z,Y,X", help="in nanometres")
    parser.add_argument("--slices", type=int, required=True, help="number of slices that were trained on")
    parser.add_argument("--licence", default="as the training data allow")
    return parser.parse_args()


if __name__ == "__main__":
    main()
