"""Memory of objects: labels of 4096 x 4096 x 64 to instances, and `tiler measure` on 1 and 8 GiB of labels.

    python tests/benchmarks/memory_objects.py instances    # at most 3 GiB
    python tests/benchmarks/memory_objects.py measure      # as much for 8 GiB as for 1 GiB

Every case runs in a fresh process, whose anonymous memory is sampled (Linux only). The input of ``instances`` is a
sparse zarr whose voxels a stand-in for a network turns into a lattice of cells, so no arithmetic hides the objects. The
labels of ``measure`` are columns of cells in a zarr that compresses well; their number is the same for both sizes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
from memory import MIB, Peak

from tiler.geometry import Footprint, Reach
from tiler.ports import Capabilities, Cost

SHAPE = (64, 4096, 4096)
CELL = 24
"""Period of the lattice of cells along y and x."""
SIZES = {"1 GiB": (16, 4096, 4096), "8 GiB": (128, 4096, 4096)}
"""uint32 labels."""


class Lattice:
    """Labels of cells: 1 but for a membrane every few voxels, the same in each tile of whole periods."""

    border = "zero"
    classes = ("labels",)
    in_channels = 1
    dtype = np.dtype(np.uint8)
    expects = None
    capabilities = Capabilities(meaning="labels")
    footprint = Footprint.of([Reach(0, 0, 0, 0, 1), *[Reach(0, 0, 0, 0, CELL)] * 2])
    identity: ClassVar = {"name": "lattice"}

    def cost(self, tile, batch):
        return Cost(float(batch * np.prod(tile)), int(batch * np.prod(tile)))

    def with_statistics(self, mean, std):
        return self

    def __call__(self, batch):
        y, x = (np.arange(size) % CELL > 1 for size in batch.shape[-2:])
        return np.broadcast_to((y[:, None] & x).astype(np.uint8), batch.shape).copy()


def instances(folder: Path) -> None:
    """Labels to instances, through the volume."""
    import zarr

    import tiler

    zarr.create_array(folder / "in.zarr", shape=SHAPE, chunks=(1, 1024, 1024), dtype="u1")
    tiler.segment(folder / "in.zarr", Lattice(), folder / "cells.zarr", kind="instances", connectivity=6,
                  missing="zero", memory="2GiB")


def measured(folder: Path, size: str) -> None:
    """A table of columns of cells."""
    import zarr

    import tiler

    shape = SIZES[size]
    labels = zarr.create_array(folder / "cells.zarr", shape=shape, chunks=(4, 1024, 1024), dtype="u4")
    y, x = np.arange(shape[1])[:, None] // 64, np.arange(shape[2])[None] // 64
    plane = (y * 64 + x + 1).astype(np.uint32)
    for z in range(0, shape[0], 4):
        labels[z:z + 4] = plane[None].repeat(4, 0)
    tiler.measure(folder / "cells.zarr", output=folder / "cells.csv")


def case(mode: str, size: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        peak, begun = Peak(), time.perf_counter()
        peak.start()
        instances(Path(folder)) if mode == "instances" else measured(Path(folder), size)
        print(f"{mode} {size}: {peak.bytes / MIB:.0f} MiB in {time.perf_counter() - begun:.0f} s", flush=True)


def main() -> None:
    mode, *rest = sys.argv[1:] or ["instances"]
    if rest:
        case(mode, rest[0])
        return
    for size in (["4096 x 4096 x 64"] if mode == "instances" else SIZES):
        subprocess.run([sys.executable, __file__, mode, size], check=True)


if __name__ == "__main__":
    main()
