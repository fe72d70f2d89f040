"""Make the synthetic ssTEM stack which lies beside this script.

    python data_samples/make_sstem.py [FOLDER]

It needs numpy, scipy and tifffile, takes about fifteen seconds, and draws every number from one seed.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import tifffile
from sstem.microscope import Section, Specimen

SEED = 3
SECTIONS = 8
SIDE = 512
VOXEL_NM = (50.0, 4.0, 4.0)
FILES = {"image": "sstem.tif", "labels": "sstem_labels.tif", "instances": "sstem_instances.tif"}


def write(path: Path, stack: np.ndarray) -> None:
    """Save a (z, y, x) stack which ImageJ opens with its voxel size.

    Of the compressions, deflate is the one that tifffile reads without a codec package.
    """
    depth, height, width = VOXEL_NM
    tifffile.imwrite(
        path,
        stack,
        imagej=True,
        compression="zlib",
        compressionargs={"level": 9},
        resolution=(1 / width, 1 / height),
        metadata={"axes": "ZYX", "spacing": depth, "unit": "nm"},
    )


def pixels_sha256(stack: np.ndarray) -> str:
    """Hash of the values alone, in C order and little-endian."""
    return hashlib.sha256(np.ascontiguousarray(stack).astype(stack.dtype.newbyteorder("<")).tobytes()).hexdigest()


def stacks(sections: list[Section]) -> dict[str, np.ndarray]:
    """One (z, y, x) array for each file."""
    return {name: np.stack([getattr(section, name) for section in sections]) for name in FILES}


def main(folder: Path) -> None:
    """Write the three stacks and print what the README's table says about them."""
    specimen = Specimen(SEED, SECTIONS, SIDE)
    for name, stack in stacks([specimen.section(index) for index in range(SECTIONS)]).items():
        path = folder / FILES[name]
        write(path, stack)
        print(f"| `{path.name}` | {stack.dtype} | {path.stat().st_size:,} |")
        print(f"  pixels {pixels_sha256(stack)}\n  file   {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
