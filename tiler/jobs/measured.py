"""Measure the objects of an output, in two stages over the same blocks.

::

    measures   every block: a table of its objects, for the next stage
    table      once: the sum of these tables, as a file
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiler.geometry import Grid
from tiler.jobs.components import Readable
from tiler.objects.columns import Columns, columns_of
from tiler.objects.measures import Measures, Total
from tiler.objects.table_files import write_table
from tiler.ports import Array, Calibration, Json
from tiler.stores.shelf import Shelf


@dataclass(frozen=True, slots=True)
class MeasureJob:
    """Measure the objects in every block: a `tiler.ports.Job`.

    Parameters
    ----------
    ids
        The numbered objects.
    images
        What is measured inside them: arrays of one channel, by the prefix of their columns.
    grid
        Blocks in voxels of the output.
    shelf
        Store for the tables of the blocks.
    """

    ids: Readable
    images: Mapping[str, Readable]
    grid: Grid
    shelf: Shelf

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return str(self.grid[index])

    def read(self, index: int) -> tuple[Array, Array]:
        box = self.grid[index]
        images = [image.read(box)[0] for image in self.images.values()]
        return self.ids.read(box)[0], np.stack(images) if images else np.zeros((0, *box.shape), np.uint8)

    def compute(self, index: int, window: tuple[Array, Array]) -> Measures:
        return Measures.of(*window, self.grid[index].start)

    def write(self, index: int, result: Measures) -> Json:
        self.shelf.put(f"measures/{index}", result.arrays())
        return {"count": len(result.ids)}


@dataclass(frozen=True, slots=True)
class TableJob:
    """Add the tables of all blocks and write the sum, as a single block: a `tiler.ports.Job`.

    Parameters
    ----------
    measured
        The job that measured the blocks.
    calibration
        Physical sizes of the output.
    path
        File to write; its folder is made if there is none.
    """

    measured: MeasureJob
    calibration: Calibration
    path: Path

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return "the objects of all blocks"

    def read(self, index: int) -> Measures:
        total = Total()
        for block in range(len(self.measured.grid)):
            total.add(Measures.of_arrays(self.measured.shelf.get(f"measures/{block}")))
        return total.result()

    def compute(self, index: int, window: Measures) -> Columns:
        return columns_of(window, self.measured.grid.region, self.calibration, list(self.measured.images))

    def write(self, index: int, result: Columns) -> Json:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_table(result, self.path, "table")
        return {"count": len(result["id"])}
