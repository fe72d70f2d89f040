"""State in a weights file what kind of data it was trained on: `tiler.ports.TrainedOn`.

    python tests/benchmarks/describe_weights.py FILE --voxel-size none,4,4 --contrast dark --best-threshold 0.6

Only the metadata change; every tensor keeps its bytes. `tiler train` states the voxel size by itself where the images
state theirs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from tiler.models.loading.weights import file_hash, read_card
from tiler.ports import TrainedOn


def main() -> None:
    given = arguments()
    size = None if given.voxel_size is None else tuple(
        None if part == "none" else float(part) for part in given.voxel_size.split(","))
    describe(given.file, TrainedOn(size, given.contrast, given.best_threshold))
    print(f"{file_hash(given.file)}  {given.file.name}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--voxel-size", metavar="Z,Y,X", help="in nanometres; none for a z that does not matter")
    parser.add_argument("--contrast", choices=["dark", "bright"], help="of membranes and other thin structures")
    parser.add_argument("--best-threshold", type=float, metavar="P")
    return parser.parse_args()


def describe(path: Path, trained_on: TrainedOn) -> None:
    """Add these statements to the metadata of a file, and keep all others."""
    tensors, metadata = contents(path)
    stated = {name: json.dumps(value) for name, value in trained_on.to_json().items()}
    path.write_bytes(save(tensors, metadata | stated))
    after, _ = contents(path)
    assert tensors.keys() == after.keys()
    assert all(torch.equal(tensors[name], after[name]) for name in tensors)
    assert read_card(path) is not None


def contents(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """All tensors and metadata of a file."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata()  # noqa: SIM118


if __name__ == "__main__":
    main()
