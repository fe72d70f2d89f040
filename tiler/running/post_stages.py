"""Stages of a step of the user: the result waits beside the output until the step has been applied to all blocks.

::

    [stages of the result]   post sample                    post
     write into a stage      the step, in one piece and in   the step, block by block,
     beside the output       pieces, on a sample             writes the output
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tiler.geometry import Box, Grid
from tiler.jobs.own_step import Step, depends
from tiler.jobs.own_step_jobs import SampleJob, StepJob
from tiler.objects.rules import Rules
from tiler.ports import KINDS, Array, Job, Json, Kind, Listener, OutputSpec, Sink
from tiler.running.destination import Destination, StageName
from tiler.running.output_spec import network_spec
from tiler.running.run_spec import Result, RunSpec
from tiler.running.stage import Findings, Records, Stage
from tiler.stores.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Before:
    """An output whose voxels wait beside it for the step: a `tiler.running.destination.Destination`."""

    output: Destination

    def sink(self, spec: OutputSpec) -> Sink:
        return self.output.stage(spec, "posted")

    def stage(self, spec: OutputSpec, name: StageName = "labels") -> Sink:
        return self.output.stage(spec, name)

    def shelf(self, name: str) -> Shelf:
        return self.output.shelf(name)

    def discard_stage(self) -> None:
        self.output.discard_stage()


@dataclass(frozen=True, slots=True)
class Posted:
    """A result to which the user's step is applied: a `tiler.running.run_spec.Result`."""

    before: Result
    step: Step

    @property
    def kind(self) -> Kind:
        return KINDS[self.step.kind]

    def stages(self, run: RunSpec) -> list[Stage]:
        made = self.before.stages(replace(run, output=Before(run.output)))
        values = made[-1].sink
        assert values is not None
        spec = self._spec(run)
        grid, start = Grid(Box.of_shape(run.plan.region.shape), run.plan.block), run.plan.region.start
        volume, output = run.source.shape[1:], run.output.sink(spec)
        sample = SampleJob(values, self.step, run.plan.region.shape, start, volume)
        job = StepJob(values, output, grid, self.step, start, volume)
        return [*made, SampleStage(sample, run.step_accepted), StepStage(job, spec)]

    def _spec(self, run: RunSpec) -> OutputSpec:
        """Specification of the output behind the step."""
        step, before = self.step, network_spec(run, self.before.kind.name)
        same = step.channels == before.shape[0] and step.kind == before.kind
        names = tuple(f"channel {number}" for number in range(step.channels))
        return replace(before, shape=(step.channels, *before.shape[1:]), dtype=step.dtype, kind=step.kind,
                       channel_axis=step.channels > 1, classes=before.classes if same else names,
                       values=before.values if same else 0)

    def difference(self, stored: Array, computed: Array, rules: Rules | None) -> float:
        """That of the result before the step; windows of a posted output are not computed again."""
        return self.before.difference(stored, computed, rules)


@dataclass(frozen=True)
class SampleStage(Stage):
    """The step in one piece and in pieces, on a sample of the true result."""

    work: SampleJob
    accepted: bool
    name = "post sample"
    sequential = True
    reads_input = False

    @property
    def grid(self) -> list[Box]:
        return [Box.of_shape(self.work.region)]

    def job(self, found: Findings, records: Records) -> Job:
        return self.work

    def merge(self, found: Findings, records: Records) -> str:
        """How the step depends on the blocks; empty if it does not.

        Raises
        ------
        PlanError
            If it does, and that was not accepted.
        """
        differs = str(records[0]["differs"])
        if differs and not self.accepted:
            raise depends(self.work.step, differs)
        return differs


@dataclass(frozen=True)
class StepStage(Stage):
    """The step on every block."""

    work: StepJob
    spec: OutputSpec
    name = "post"
    reads_input = False

    @property
    def grid(self) -> Grid:
        return self.work.grid

    @property
    def sink(self) -> Sink:
        return self.work.sink

    def job(self, found: Findings, records: Records) -> Job:
        return self.work

    def stored(self, index: int) -> list[Box]:
        return [self.grid[index]]

    def remarks(self, found: Findings, job: Job, listener: Listener) -> tuple[Json, Json]:
        differs = found["post sample"]
        if differs:
            listener.warn(f"the result depends on the blocks, since {self.work.step.name} does: {differs}")
        about = {**self.work.step.identity, **({"depends_on_blocks": differs} if differs else {})}
        return {"kind": self.spec.kind, "classes": list(self.spec.classes), "post": about}, {}
