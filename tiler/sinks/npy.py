"""``.npy`` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from tiler.ports import Array, Json
from tiler.sinks.mapped import MappedSink


class NpySink(MappedSink):
    """A ``.npy`` file, written through a memory map; its axes are those of the layout.

    Their names and sizes, and the channels, stand in the file of its provenance, ``NAME.npy.tiler.json``.
    """

    def allocate(self, path: Path) -> None:
        open_memmap(path, mode="w+", dtype=self.spec.dtype, shape=self.layout.shape)

    def description(self) -> Json:
        known, place = self.spec.calibration, self.layout.with_channels
        return {"array": {
            "shape": list(self.layout.shape), "axes": "".join(self.layout.axes), "scale": place(known.scale, 1.0),
            "units": place(known.units, None), "offset": place(known.offset, 0.0), "channels": list(self.spec.classes),
        }}

    def map(self, path: Path, mode: str) -> tuple[Any, Array]:
        mapped = np.load(path, mmap_mode="r+" if mode == "r+" else "r", allow_pickle=False)
        return mapped, mapped
