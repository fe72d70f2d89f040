"""Everything that one run needs: plan, ports, output and result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tiler.jobs.masked import Part
from tiler.jobs.own_step import Step
from tiler.objects.rules import Rules
from tiler.planning.plan import Plan
from tiler.ports import Array, Json, Kind, Predictor, Room, Sink, Source
from tiler.running.destination import Destination
from tiler.running.stage import Stage


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Specification of one run.

    Parameters
    ----------
    plan, source, predictor
        The plan of the run, its input and its network.
    output
        Output of the result.
    result
        Kind of result to make from the output of the network.
    statistics
        Rule of the first pass over the volume, e.g. ``volume``; None for no such pass.
    rules
        Rules for making objects; None if the result has no objects.
    part
        Part of the volume that is segmented; None for all of it.
    dtype
        Dtype of the output, for results whose dtype does not come from the network.
    table
        Table of the objects to write; None for none.
    outlines
        Zip of their outlines to write; None for none.
    storage
        How the voxels of the output are stored, by keyword.
    attributes
        Provenance to store with the output.
    scratch
        Folder of the tensors that are stored on disk; None for a plan that stores none.
    retries
        Number of times that a block that fails is tried again.
    step, step_accepted
        The user's step on the result, None for none; and whether it may depend on the blocks.
    """

    plan: Plan
    source: Source
    predictor: Predictor
    output: Destination
    result: Result
    statistics: str | None = None
    rules: Rules | None = None
    part: Part | None = None
    dtype: np.dtype[Any] | None = None
    table: Path | None = None
    outlines: Path | None = None
    storage: Json = field(default_factory=dict)
    attributes: Json = field(default_factory=dict)
    scratch: Path | None = None
    retries: int = 0
    step: Step | None = None
    step_accepted: bool = False


class Result(Protocol):
    """A kind of result: its output, its stages and its check.

    Attributes
    ----------
    kind
        Meaning of the values.
    """

    @property
    def kind(self) -> Kind: ...

    def stages(self, run: RunSpec) -> list[Stage]:
        """The stages from the network's last pass to the output; the last of them writes the output."""
        ...

    def difference(self, stored: Array, computed: Array, rules: Rules | None) -> float:
        """Largest error of an output.

        Parameters
        ----------
        stored
            ``(c, z, y, x)``: a part of the output.
        computed
            ``(c, z, y, x)``: the same part, recomputed: the output itself if its values are ordered, else class
            probabilities.
        rules
            Rules by which objects were made.
        """
        ...


def sinks_of(stages: Sequence[Stage]) -> list[Sink]:
    """Every sink of a run once, the output last."""
    return list({id(stage.sink): stage.sink for stage in stages if stage.sink is not None}.values())


def room_of(stages: Sequence[Stage]) -> Room:
    """Disk space of the output and of the temporary data beside it."""
    *waiting, output = sinks_of(stages)
    room = output.room
    return replace(room, temporary=room.temporary + sum(sink.room.output for sink in waiting))
