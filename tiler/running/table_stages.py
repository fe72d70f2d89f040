"""Stages that write files about the objects of an output: their table, and their outlines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tiler.geometry import Grid
from tiler.jobs.components import Readable
from tiler.jobs.measured import MeasureJob, TableJob
from tiler.jobs.outlined import LIMIT, OutlineJob, RoisJob
from tiler.ports import Job, Json, Listener, OutputSpec, Sink
from tiler.running.destination import Destination
from tiler.running.object_stages import BlockStage, OnceStage
from tiler.running.stage import Findings, Records, Stage


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
    return [BlockStage("measures", grid, job), FileStage("table", grid, partial(_table_job, job, spec, path),
                                                         "measures", path)]


def _table_job(job: MeasureJob, spec: OutputSpec, path: Path, counts: tuple[int, ...]) -> TableJob:
    return TableJob(job, spec.calibration, path)


def outline_stages(path: Path, grid: Grid, destination: Destination, output: Sink) -> list[Stage]:
    """Stages after those that write numbered objects; ``path`` is the zip of ROIs."""
    job = OutlineJob(output, grid, destination.shelf("outlines"))
    return [BlockStage("outlines", grid, job),
            RoisStage("rois", grid, lambda counts: RoisJob(job, path), "outlines", path)]


@dataclass(frozen=True)
class FileStage(OnceStage):
    """A file about all objects."""

    path: Path

    def is_there(self) -> bool:
        return self.path.exists()


@dataclass(frozen=True)
class RoisStage(FileStage):
    """The zip of ROIs."""

    def merge(self, found: Findings, records: Records) -> int:
        """Number of outlines that are missing, since their boxes are too large."""
        return int(records[0]["too_large"])

    def remarks(self, found: Findings, job: Job, listener: Listener) -> tuple[Json, Json]:
        if found[self.name]:
            listener.warn(f"{found[self.name]} objects are not outlined in some section, since their boxes there hold "
                          f"more than {LIMIT} pixels")
        return {}, {}
