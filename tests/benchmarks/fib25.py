"""Neurites in isotropic FIB-SEM, in 3-D: the parts of a volume to train, validate and test on.

    python tests/benchmarks/fib25.py prepare sample2-raw.tif sample2-bodies.tif -o parts

writes images and boundary labels of z 0 to 174 to train on, and images and bodies of z 150 to 174 (validation) and 175
to 249 (test) to score on. The commands that follow stand in the README of this folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

PARTS = {"train": slice(0, 175), "validation": slice(150, 175), "test": slice(175, 250)}
"""Sections of each part; training itself holds the validation part out."""


def main() -> None:
    given = arguments()
    given.output.mkdir(parents=True, exist_ok=True)
    raw, bodies = tifffile.imread(given.images), tifffile.imread(given.bodies)
    for name, part in PARTS.items():
        save(given.output / f"{name}-images.tif", raw[part])
        save(given.output / f"{name}-bodies.tif", bodies[part])
    save(given.output / "train-labels.tif", interior(bodies[PARTS["train"]]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    prepare = commands.add_parser("prepare")
    prepare.add_argument("images", type=Path)
    prepare.add_argument("bodies", type=Path)
    prepare.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    return parser.parse_args()


def save(path: Path, volume: npt.NDArray[np.generic]) -> None:
    tifffile.imwrite(path, volume, compression="zlib", metadata={"axes": "ZYX"})


def interior(bodies: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """``(z, y, x)`` uint8: 0 where a voxel or one of its six neighbours belongs to another body, else 1.

    Boundaries are thus two voxels thick, 20 nm, in every direction.
    """
    inside = bodies != 0
    for axis in range(bodies.ndim):
        below, above = (tuple(side if at == axis else slice(None) for at in range(bodies.ndim))
                        for side in (slice(None, -1), slice(1, None)))
        differs = bodies[below] != bodies[above]
        inside[below] &= ~differs
        inside[above] &= ~differs
    return inside.astype(np.uint8)


if __name__ == "__main__":
    main()
