"""Stages that measure the objects of an output and write them as a table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tiler.geometry import Grid
from tiler.jobs.components import Readable
from tiler.jobs.measured import MeasureJob, TableJob
from tiler.ports import OutputSpec, Sink
from tiler.running.destination import Destination
from tiler.running.object_stages import BlockStage, OnceStage
from tiler.running.stage import Stage


def table_stages(path: Path, grid: Grid, destination: Destination, spec: OutputSpec, output: Sink,
                 probability: Readable | None) -> list[Stage]:
    """Stages after those that write numbered objects.

    Parameters
    ----------
    path
        The table, ``.csv`` or ``.parquet``.
    grid
        Blocks in voxels of the output.
    destination
        Output and temporary stores of the run.
    spec, output
        Specification and sink of the objects.
    probability
        The probability of which objects are made, if the network gives one; it is measured inside them.
    """
    images = {} if probability is None else {"probability": probability}
    job = MeasureJob(output, images, grid, destination.shelf("table"))
    return [BlockStage("measures", grid, job), TableStage("table", grid, partial(_table_job, job, spec, path),
                                                          "measures", path)]


def _table_job(job: MeasureJob, spec: OutputSpec, path: Path, counts: tuple[int, ...]) -> TableJob:
    return TableJob(job, spec.calibration, path)


@dataclass(frozen=True)
class TableStage(OnceStage):
    """The table as a file."""

    path: Path

    def is_there(self) -> bool:
        return self.path.exists()
