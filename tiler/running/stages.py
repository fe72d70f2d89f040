"""The stages of a run, one class each: statistics of the volume, the network, numbering.

::

    [statistics]    model   [stages of objects]
     of the volume  writes   the last one writes

`tiler.running.object_stages` lists those of objects: holes, splits, numbering and growth.

Every stage may use the results of earlier ones. `stages_of` lists the stages of a run, `completed` reads their results
from a record.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tiler.geometry import Box, Grid
from tiler.jobs.blend import segment_job
from tiler.jobs.masked import MaskedJob
from tiler.jobs.seams import note_of
from tiler.jobs.segment import SegmentJob, checksum
from tiler.jobs.statistics import Scaling, StatisticsJob, scaling
from tiler.planning.workload import Choice, Workload
from tiler.ports import Job, Json, Listener, Predictor, Sink, Source
from tiler.running.run_spec import RunSpec
from tiler.running.stage import Findings, Recorded, Records, Stage
from tiler.sources.cached import CachedSource

STATISTICS, NETWORK = "statistics", "model"
log = logging.getLogger(__name__)


def stages_of(run: RunSpec) -> list[Stage]:
    """The stages of a run in their order."""
    measured: list[Stage] = [] if run.statistics is None else [StatisticsStage(run)]
    return [*measured, *run.result.stages(run)]


def completed(stages: Sequence[Stage], record: Recorded) -> Iterator[tuple[Stage, Findings, Records]]:
    """Yield each stage with records, the results of the stages before it, and its own records."""
    found: dict[str, object] = {}
    for stage in stages:
        records = record.records(stage.name)
        yield stage, dict(found), records
        if stage.left(records):
            return
        found[stage.name] = stage.merge(found, records)


def ready_predictor(run: RunSpec, found: Findings) -> Predictor:
    """The predictor, with the statistics of the volume if its normalisation needs them."""
    measured: Scaling | None = found.get(STATISTICS)
    return run.predictor if measured is None else run.predictor.with_statistics(measured.mean, measured.std)


@dataclass(frozen=True)
class StatisticsStage(Stage):
    """Measure the statistics of the whole volume, with which grey values are normalised."""

    run: RunSpec
    name = STATISTICS

    @property
    def grid(self) -> Sequence[Box]:
        return self._job.grid

    def job(self, found: Findings, records: Records) -> Job:
        return self._job

    def merge(self, found: Findings, records: Records) -> Scaling:
        return scaling(str(self.run.statistics), dict(records), self.run.source.dtype)

    @property
    def _job(self) -> StatisticsJob:
        return StatisticsJob(self.run.source, self.run.plan.nan)


@dataclass(frozen=True)
class NetworkStage(Stage):
    """The network, which writes its output block by block."""

    run: RunSpec
    output: Sink
    name = NETWORK

    @property
    def tiles(self) -> int:  # type: ignore[override]  # it depends on the plan
        return self.run.plan.estimate.tiles

    @property
    def grid(self) -> Grid:
        return self.run.plan.grid

    @property
    def order(self) -> Iterable[int]:
        return self.run.plan.order

    @property
    def sink(self) -> Sink:
        return self.output

    def job(self, found: Findings, records: Records) -> SegmentJob | MaskedJob:
        return self._masked(self._job(found, self._cached_source()))

    def merge(self, found: Findings, records: Records) -> int:
        """Number of blocks without any voxel to segment."""
        return sum(bool(record.get("skipped")) for record in records.values())

    def stored(self, index: int) -> Sequence[Box]:
        return [self.grid[index].back(self.run.plan.region.start)]

    def again(self, found: Findings, index: int) -> Json:
        job = self._job(found, self.run.source)
        if self.run.part is None:
            return {"checksum": checksum(job.compute(index, job.read(index)))}
        masked = MaskedJob(job, self.run.part)
        return {"checksum": checksum(masked.compute(index, masked.read(index))[0])}

    def remarks(self, found: Findings, job: Job, listener: Listener) -> tuple[Json, Json]:
        masked, job = isinstance(job, MaskedJob), job.work if isinstance(job, MaskedJob) else job
        assert isinstance(job, SegmentJob)
        run, about = self.run, dict[str, object]()
        if masked:
            about["mask"] = {"blocks": len(self.grid), "skipped": found[self.name]}
            if found[self.name] == len(self.grid):
                listener.warn("nothing is segmented: the mask, or the background, leaves no voxel of the region; is "
                              "it a mask of the whole volume, or does its offset say where it lies?")
        if run.plan.blended:
            note = note_of(run.plan, run.source, job.predictor, self.output, run.part)
            listener.warn(note["says"])
            about["approximation"] = note
        return about, self._decoded(job.source)

    def _masked(self, job: SegmentJob) -> SegmentJob | MaskedJob:
        return job if self.run.part is None else MaskedJob(job, self.run.part)

    def _job(self, found: Findings, source: Source) -> SegmentJob:
        run = self.run
        return segment_job(run.plan, source, ready_predictor(run, found), self.output)

    def _cached_source(self) -> Source:
        """The source, with a cache if the plan has one."""
        run, plan = self.run, self.run.plan
        if not plan.cache:
            return run.source
        chunks = Workload(run.source, run.predictor, plan.region, plan.canvas).chunks(Choice(plan.tile, plan.block))
        later = tuple(axis.successors(length) for axis, length in zip(chunks, plan.strip, strict=True))
        return CachedSource(run.source, plan.cache, later)

    def _decoded(self, source: Source) -> Json:
        """Amount of input decoded in this process; other processes are not counted."""
        if not isinstance(source, CachedSource) or not source.decoded:
            return {}
        voxel = source.shape[0] * source.dtype.itemsize
        log.info("decoded %d bytes, %d were planned", source.decoded * voxel, self.run.plan.estimate.bytes_decoded)
        return {"bytes_decoded": source.decoded * voxel}
