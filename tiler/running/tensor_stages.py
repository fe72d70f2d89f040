"""Stages of a run that stores the tensors of its network on disk.

::

    tensor 0, tensor 1, ..., model                                   a network of volumes
    section 4 tensor 0, ..., model (its blocks), section 5 tensor 0, ...     a network of slices

A tensor is removed once nothing that is still to be computed reads it. Its statistics stay in the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tiler.errors import SinkError
from tiler.geometry import Box, Shape, Span
from tiler.jobs.scratch import Scratch
from tiler.jobs.segment import SegmentJob, checksum
from tiler.jobs.stored_tensors import Inputs, StoredResultJob, TensorJob
from tiler.planning.out_of_core import last_reads
from tiler.ports import Json, Predictor, Sink, Source, Staging
from tiler.running.run_spec import RunSpec
from tiler.running.stage import Findings, Recorded, Records, Stage
from tiler.running.stages import NetworkStage, ready_predictor

SEVERAL = 64
"""Blocks to compute, from which on all that their tensor reads is taken to be needed."""


def network_stages(run: RunSpec, output: Sink) -> list[Stage]:
    """The stages of the network's last pass: one, or one for every tensor that is stored on disk."""
    if not run.plan.out_of_core:
        return [NetworkStage(run, output)]
    return [stage for each in inputs_of(run, output) for stage in (*each.tensors, each.result)]


def inputs_of(run: RunSpec, output: Sink) -> Iterator[InputStages]:
    """The inputs of the network in their order: the sections of the region, or the volume."""
    if not run.predictor.footprint.flat:
        yield InputStages(run, output, None)
        return
    for section in range(run.plan.region.spans[0].start, run.plan.region.spans[0].stop):
        yield InputStages(run, output, section)


@dataclass(frozen=True)
class InputStages:
    """The stages of one input of the network.

    Parameters
    ----------
    run, output
        The run, and the sink of the network's result.
    section
        Number of the section; None for the volume.
    """

    run: RunSpec
    output: Sink
    section: int | None

    @cached_property
    def staging(self) -> Staging:
        return self.staging_by(self.run.predictor)

    def staging_by(self, predictor: Predictor) -> Staging:
        """The stages of the input, computed by a predictor."""
        plan, stager = self.run.plan, predictor.capabilities.stager
        assert plan.scratch is not None
        assert plan.canvas is not None
        assert stager is not None
        part = plan.region.back(plan.canvas.start)
        if self.section is not None:
            part = Box((Span(0, 1), *part.spans[1:]))
        staging = stager.of(self.shape, part, plan.scratch.voxels)
        assert staging is not None
        return staging

    @property
    def shape(self) -> Shape:
        """``(z, y, x)`` of the input."""
        canvas = self.run.plan.canvas
        assert canvas is not None
        return canvas.shape if self.section is None else (1, *canvas.shape[1:])

    @property
    def scratch(self) -> Scratch:
        assert self.run.scratch is not None
        return Scratch(self.run.scratch if self.section is None else self.run.scratch / f"section {self.section}")

    def inputs(self, source: Source) -> Inputs:
        plan = self.run.plan
        assert plan.canvas is not None
        return Inputs(source, plan.nan, plan.canvas, self.section)

    def name(self, number: int) -> str:
        """Name of a tensor's stage."""
        return f"tensor {number}" if self.section is None else f"section {self.section} tensor {number}"

    @cached_property
    def tensors(self) -> list[TensorStage]:
        return [TensorStage(self, number) for number in range(len(self.staging.tensors))]

    @property
    def result(self) -> StoredResultStage:
        return StoredResultStage(self.run, self.output, self)


@dataclass(frozen=True)
class TensorStage(Stage):
    """Compute one tensor of the network from the input and earlier tensors.

    Parameters
    ----------
    input
        The stages of the same input.
    number
        Number of the tensor.
    """

    input: InputStages
    number: int

    @property
    def name(self) -> str:  # type: ignore[override]  # it depends on the number
        return self.input.name(self.number)

    @property
    def grid(self) -> Sequence[Box]:
        return self.input.staging.tensors[self.number].blocks

    @property
    def reads_input(self) -> bool:  # type: ignore[override]  # what reads other tensors needs their files
        return not self.input.staging.tensors[self.number].reads

    def job(self, found: Findings, records: Records) -> TensorJob:
        here, predictor = self.input, ready_predictor(self.input.run, found)
        staging = here.staging if predictor is here.run.predictor else here.staging_by(predictor)
        known = {number: found[here.name(number)] for number in range(self.number)}
        return TensorJob(staging, self.number, here.inputs(here.run.source), here.scratch, known,
                         predictor.capabilities.feeders)

    def merge(self, found: Findings, records: Records) -> Any:
        """The statistics of the tensor."""
        return self.input.staging.merged(self.number, [records[index] for index in range(len(self.grid))])

    def again(self, found: Findings, index: int) -> Json:
        job = self.job(found, {})
        return job.record(job.compute(index, job.read(index)))

    def where(self, index: int) -> str:
        return f"block {index} of {self.name}, made by {self.input.staging.tensors[self.number].layer}"

    def free(self) -> None:
        """Remove the tensors that no later stage reads."""
        for number in last_reads(self.input.staging.tensors)[self.number]:
            self.input.scratch.free(number)

    def is_sound(self, index: int, record: Json, every: bool) -> bool:
        """Whether the file of a block is as it was written; with ``every``, whether its bytes are."""
        tensor, scratch = self.input.staging.tensors[self.number], self.input.scratch
        if not tensor.kept:
            return True
        if scratch.stamp(self.number, index, tensor) != record["stamp"]:
            return False
        try:
            return not every or checksum(scratch.whole(self.number, tensor, index)) == record["checksum"]
        except SinkError:
            return False


@dataclass(frozen=True)
class StoredResultStage(NetworkStage):
    """Write the blocks of the output that belong to one input, from the last tensor."""

    input: InputStages
    reads_input = False
    tiles = None  # type: ignore[assignment]  # the network ran in the stages before

    @property
    def order(self) -> Iterable[int]:
        section, plan = self.input.section, self.run.plan
        if section is None:
            return plan.order
        return [index for index in plan.order if plan.grid[index].start[0] == section]

    @property
    def spent(self) -> Sequence[str]:
        return [stage.name for stage in self.input.tensors]

    def free(self) -> None:
        self.input.scratch.clear()

    def _job(self, found: Findings, source: Source) -> SegmentJob:
        run, here, predictor = self.run, self.input, ready_predictor(self.run, found)
        staging = here.staging if predictor is run.predictor else here.staging_by(predictor)
        return StoredResultJob(run.plan, source, predictor, self.output, staging=staging, scratch=here.scratch,
                               inputs=here.inputs(source))


def forget_lost(stages: Sequence[Stage], record: Recorded, every: bool) -> int:
    """Withdraw the records of stored blocks that are needed and gone or damaged, and count them.

    Works backwards: what is still to be computed needs blocks of tensors before it, and of these the ones that are gone
    are to be computed as well. Blocks that nothing needs any more were removed and stay recorded.

    Parameters
    ----------
    every
        Whether to read all blocks that are needed, or only look at size and time of their files.
    """
    results = [stage for stage in stages if isinstance(stage, StoredResultStage)]
    return sum(_forget_lost(result, record, every) for result in results)


def _forget_lost(result: StoredResultStage, record: Recorded, every: bool) -> int:
    done = record.records(result.name)
    todo = [index for index in result.order if index not in done]
    if not todo:
        return 0
    stages, count = result.input.tensors, 0
    needed = {len(stages) - 1: set(range(len(stages[-1].grid)))}
    for stage in reversed(stages):
        done = record.records(stage.name)
        lost = [index for index in sorted(needed.get(stage.number, ())) if index in done
                and not stage.is_sound(index, done[index], every)]
        for index in lost:
            record.forget(stage.name, index)
        count += len(lost)
        left = [index for index in range(len(stage.grid)) if index not in done or index in lost]
        for number, blocks in _needed_for(stage, left):
            needed.setdefault(number, set()).update(blocks)
    return count


def _needed_for(stage: TensorStage, todo: Sequence[int]) -> Iterator[tuple[int, Iterable[int]]]:
    """Blocks of earlier tensors that some blocks of a stage read."""
    staging = stage.input.staging
    tensors = staging.tensors
    if len(todo) >= min(SEVERAL, len(stage.grid)):
        yield from ((number, range(len(tensors[number].blocks))) for number in tensors[stage.number].reads)
        return
    for index in todo:
        for number, box in staging.needs(stage.number, index).tensors.items():
            yield number, tensors[number].touching(box)
