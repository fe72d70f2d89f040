"""Everything that one run needs: plan, ports, output and result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from tiler.jobs.masked import Part
from tiler.objects.rules import Rules
from tiler.planning.plan import Plan
from tiler.ports import Array, Json, Kind, Predictor, Room, Sink, Source
from tiler.running.destination import Destination
from tiler.running.stage import Stage


@dataclass(frozen=True, slots=True)
class RunSpec:
    """All that one run works with.

    Parameters
    ----------
    plan, source, predictor
        The plan of the run, its input and its network.
    output
        Where the result is written.
    result
        Kind of result to make from the output of the network.
    statistics
        The rule of a first pass over the volume, e.g. ``volume``; None for none.
    rules
        How objects are made of labels; None where there are none.
    part
        What is segmented; None for all.
    dtype
        Dtype of the output, for results whose dtype does not come from the network.
    storage
        Options that say how a zarr output is stored, by keyword.
    attributes
        Provenance to store with the output.
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
    storage: Json = field(default_factory=dict)
    attributes: Json = field(default_factory=dict)


class Result(Protocol):
    """A kind of result: what is written, which stages make it, and how it is checked.

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
        """How far an output is from what it should be, at worst.

        Parameters
        ----------
        stored
            (c, z, y, x), a part of the output.
        computed
            (c, z, y, x), the same part computed again: the output itself where its values are ordered, else the
            probabilities of the classes.
        rules
            How objects were made of labels.
        """
        ...


def sinks_of(stages: Sequence[Stage]) -> list[Sink]:
    """Every sink of a run once, the output last."""
    return list({id(stage.sink): stage.sink for stage in stages if stage.sink is not None}.values())


def room_of(stages: Sequence[Stage]) -> Room:
    """Disk space for the output, and for what waits beside it for a later stage."""
    *waiting, output = sinks_of(stages)
    room = output.room
    return replace(room, temporary=room.temporary + sum(sink.room.output for sink in waiting))
