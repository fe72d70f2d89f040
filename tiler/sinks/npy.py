"""``.npy`` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from tiler.ports import Array
from tiler.sinks.mapped import MappedSink


class NpySink(MappedSink):
    """A ``.npy`` file, written through a memory map; its axes are those of the layout."""

    def allocate(self, path: Path) -> None:
        open_memmap(path, mode="w+", dtype=self.spec.dtype, shape=self.layout.shape)

    def map(self, path: Path, mode: str) -> tuple[Any, Array]:
        mapped = np.load(path, mmap_mode="r+" if mode == "r+" else "r", allow_pickle=False)
        return mapped, mapped
