"""The stages that make objects of labels: components of every block, their merging, their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tiler.geometry import Box, Grid
from tiler.jobs.components import ComponentsJob, Labelled, MergeJob, NumberJob
from tiler.objects.rules import Rules
from tiler.ports import Job, Json, Listener, Sink
from tiler.running.stage import Findings, Records, Stage

COMPONENTS, MERGE, NUMBERING = "components", "merge", "instances"


def object_stages(labelled: Labelled, rules: Rules, output: Sink, dtype: np.dtype[Any]) -> list[Stage]:
    """From labels to numbered objects."""
    return [ComponentsStage(labelled), MergeStage(labelled, rules.min_size, dtype),
            NumberingStage(labelled, rules, output, dtype)]


@dataclass(frozen=True)
class ComponentsStage(Stage):
    """The components of every block."""

    labelled: Labelled
    name = COMPONENTS
    reads_input = False

    @property
    def grid(self) -> Grid:
        return self.labelled.grid

    def job(self, found: Findings, records: Records) -> Job:
        return ComponentsJob(self.labelled)

    def merge(self, found: Findings, records: Records) -> tuple[int, ...]:
        """How many components each block has."""
        return tuple(int(records[index]["count"]) for index in range(len(self.grid)))


@dataclass(frozen=True)
class MergeStage(Stage):
    """The objects of all components, in one block."""

    labelled: Labelled
    min_size: int
    dtype: np.dtype[Any]
    name = MERGE
    sequential = True
    reads_input = False

    @property
    def grid(self) -> list[Box]:
        return [self.labelled.grid.region]

    def job(self, found: Findings, records: Records) -> Job:
        return MergeJob(self.labelled, found[COMPONENTS], self.min_size, self.dtype)

    def merge(self, found: Findings, records: Records) -> int:
        """How many objects there are."""
        return int(records[0]["count"])


@dataclass(frozen=True)
class NumberingStage(Stage):
    """Every block with the numbers of its objects."""

    labelled: Labelled
    rules: Rules
    output: Sink
    dtype: np.dtype[Any]
    name = NUMBERING
    reads_input = False

    @property
    def grid(self) -> Grid:
        return self.labelled.grid

    @property
    def sink(self) -> Sink:
        return self.output

    def job(self, found: Findings, records: Records) -> Job:
        return NumberJob(self.labelled, self.output, self.dtype)

    def stored(self, index: int) -> list[Box]:
        return [self.grid[index]]

    def remarks(self, found: Findings, job: Job, listener: Listener) -> tuple[Json, Json]:
        return {"objects": {"count": found[MERGE], **self.rules.to_json()}}, {}
