"""Stages that make objects from the output of the network; each rule adds its own stages.

::

    holes, fill                                           if holes are filled (fill_holes)
    whole components, whole merge, whole instances,
    boxes, places, split                                  if objects are split (split)
    components, merge, instances                          always
    grow                                                  if objects grow (grow)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tiler.geometry import Box, Grid, Shape
from tiler.jobs.components import ComponentsJob, Labelled, MergeJob, NumberJob, Readable, Threshold
from tiler.jobs.grown import GrowJob
from tiler.jobs.holes import Filled, FillJob, background_of, for_holes
from tiler.jobs.masked import Kept, Part
from tiler.jobs.splits import BoxesJob, Numbered, Parts, PlacesJob, SplitJob
from tiler.objects.rules import Rules
from tiler.objects.splitting import Watershed
from tiler.ports import Job, Json, Listener, OutputSpec, Sink
from tiler.running.destination import Destination
from tiler.running.stage import Findings, Records, Stage

NUMBERING = "instances"


@dataclass(frozen=True)
class ObjectStages:
    """Everything needed to make objects.

    Parameters
    ----------
    rules
        Rules for the objects.
    grid
        Blocks in voxels of the output.
    destination
        Output and temporary stores of the run.
    spec
        Specification of the sinks of objects.
    part, start
        Part of the volume that is segmented, None for all of it; and ``(z, y, x)`` of the output in the volume.
    """

    rules: Rules
    grid: Grid
    destination: Destination
    spec: OutputSpec
    part: Part | None = None
    start: Shape = (0, 0, 0)

    def of(self, network: Sink, output: Sink) -> list[Stage]:
        """The stages from the output of the network to numbered objects."""
        rules, stages = self.rules, list[Stage]()
        labels: Readable = network if rules.threshold is None else Threshold(network, rules.threshold)
        if rules.fill_holes:
            labels = self._filled(labels, stages)
        if rules.split is not None:
            labels = self._split(labels, network if rules.seeds == "probability" else None, rules.split, stages)
        numbered = self.destination.stage(self.spec, "objects") if rules.grow else output
        stages += self._numbering(self._labelled(labels, "objects", rules.link), numbered, rules.min_size)
        if rules.grow:
            stages.append(GrowStage(GrowJob(numbered, output, self.grid, rules.growth, self.part, self.start), output))
        return stages

    def _filled(self, labels: Readable, stages: list[Stage]) -> Readable:
        background = background_of(self._labelled(labels, "holes"))
        stages += [
            BlockStage("holes", self.grid, ComponentsJob(background, for_holes)),
            OnceStage("fill", self.grid, partial(FillJob, background), "holes")]
        filled = Filled(labels, background)
        return filled if self.part is None else Kept(filled, self.part, self.start)

    def _split(self, labels: Readable, depth: Sink | None, how: Watershed, stages: list[Stage]) -> Readable:
        ids = self.destination.stage(replace(self.spec, dtype=self._wide), "whole")
        whole = Numbered(ids, self.grid, self.destination.shelf("split"))
        stages += self._numbering(self._labelled(labels, "whole"), ids, 0, "whole ")
        stages += [
            BlockStage("boxes", self.grid, BoxesJob(whole)),
            OnceStage("places", self.grid, lambda counts: PlacesJob(whole), "boxes"),
            SplitStage("split", self.grid, SplitJob(whole, how, depth))]
        return Parts(whole)

    @property
    def _wide(self) -> np.dtype[np.unsignedinteger]:
        """Dtype that counts whole objects before small ones are dropped; at least that of the output."""
        return np.promote_types(self.spec.dtype, np.uint32)

    def _labelled(self, labels: Readable, shelf: str, link: float | None = None) -> Labelled:
        return Labelled(labels, self.grid, self.rules.connectivity, self.destination.shelf(shelf), link)

    def _numbering(self, labelled: Labelled, output: Sink, min_size: int, of: str = "") -> list[Stage]:
        told, dtype = (None, self._wide) if of else (self.rules, self.spec.dtype)

        def merge(counts: tuple[int, ...]) -> Job:
            return MergeJob(labelled, counts, min_size, dtype)

        return [BlockStage(f"{of}components", self.grid, ComponentsJob(labelled)),
                OnceStage(f"{of}merge", self.grid, merge, f"{of}components"),
                NumberingStage(f"{of}{NUMBERING}", self.grid, NumberJob(labelled, output, dtype), output,
                               f"{of}merge", told)]


@dataclass(frozen=True)
class BlockStage(Stage):
    """A job over all blocks that stores its findings on a shelf; later stages receive the count of each block."""

    name: str
    blocks: Grid
    work: Job
    reads_input = False

    @property
    def grid(self) -> Grid:
        return self.blocks

    def job(self, found: Findings, records: Records) -> Job:
        return self.work

    def merge(self, found: Findings, records: Records) -> tuple[int, ...]:
        return tuple(int(records[index]["count"]) for index in range(len(self.grid)))


@dataclass(frozen=True)
class SplitStage(BlockStage):
    """The parts of objects."""

    def merge(self, found: Findings, records: Records) -> tuple[int, int]:
        """Number of objects that were split, and number that were too large."""
        return (sum(int(record["split"]) for record in records.values()),
                sum(int(record["too_large"]) for record in records.values()))


@dataclass(frozen=True)
class OnceStage(Stage):
    """A job of a single block, in this process, that merges the findings of an earlier stage from all blocks."""

    name: str
    blocks: Grid
    work: Callable[[tuple[int, ...]], Job]
    before: str
    sequential = True
    reads_input = False

    @property
    def grid(self) -> list[Box]:
        return [self.blocks.region]

    def job(self, found: Findings, records: Records) -> Job:
        return self.work(found[self.before])

    def merge(self, found: Findings, records: Records) -> int:
        """Number of findings."""
        return int(records[0]["count"])


@dataclass(frozen=True)
class NumberingStage(Stage):
    """Every block with the numbers of its objects."""

    name: str
    blocks: Grid
    work: NumberJob
    output: Sink
    before: str
    rules: Rules | None
    """Those that the output tells of itself; None for what waits for a later stage."""
    reads_input = False

    @property
    def grid(self) -> Grid:
        return self.blocks

    @property
    def sink(self) -> Sink:
        return self.output

    def job(self, found: Findings, records: Records) -> Job:
        return self.work

    def stored(self, index: int) -> list[Box]:
        return [self.grid[index]]

    def remarks(self, found: Findings, job: Job, listener: Listener) -> tuple[Json, Json]:
        if self.rules is None:
            return {}, {}
        about: dict[str, Any] = {"count": found[self.before], **self.rules.to_json()}
        if self.rules.split is not None:
            about["split"], too_large = found["split"]
            if too_large:
                listener.warn(f"{too_large} objects stay whole, since their boxes hold more than "
                              f"{self.rules.split.limit} voxels (`split_limit`)")
        return {"objects": about}, {}


@dataclass(frozen=True)
class GrowStage(Stage):
    """Grow the objects of every block into the background."""

    work: GrowJob
    output: Sink
    name = "grow"
    reads_input = False

    @property
    def grid(self) -> Grid:
        return self.work.grid

    @property
    def sink(self) -> Sink:
        return self.output

    def job(self, found: Findings, records: Records) -> Job:
        return self.work

    def stored(self, index: int) -> list[Box]:
        return [self.grid[index]]
