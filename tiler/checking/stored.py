"""Comparison of a stored output with its records: blocks, coarser levels, metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tiler.errors import SinkError
from tiler.jobs.segment import checksum_of
from tiler.ports import Array, InspectedSink, Json
from tiler.running.journal import Journal
from tiler.running.stage import Stage, output_stage
from tiler.sinks.inspection import unlike


@dataclass(slots=True)
class Values:
    """Statistics of the values that were read.

    Parameters
    ----------
    low, high
        Range of the finite values.
    not_finite
        Number of values that are NaN or infinite.
    """

    low: float = np.inf
    high: float = -np.inf
    not_finite: int = 0

    def noted(self, data: Array) -> Array:
        """Count some values, and return them."""
        kept = data
        if data.dtype.kind == "f":
            kept = data[np.isfinite(data)]
            self.not_finite += data.size - kept.size
        if kept.size:
            self.low, self.high = min(self.low, float(kept.min())), max(self.high, float(kept.max()))
        return data

    @property
    def spread(self) -> float:
        return max(0.0, self.high - self.low)


@dataclass(frozen=True, slots=True)
class Stored:
    """Findings after an output was read.

    Parameters
    ----------
    damaged
        Blocks that cannot be read or do not match their checksum.
    faults
        Other faults: in levels, metadata or lists of chunks.
    values
        Range of the values in the blocks of the output.
    """

    damaged: tuple[str, ...]
    faults: tuple[str, ...]
    values: Values = field(default_factory=Values)


def read_all(stages: Sequence[Stage], journal: Journal, finished: bool) -> Stored:
    """Read every recorded block, and of a finished output all the rest.

    Parameters
    ----------
    stages
        The stages of the run.
    journal
        Its record.
    finished
        Whether the output is complete; temporary data of earlier stages are gone then.
    """
    last, values, damaged = output_stage(stages), Values(), list[str]()
    for stage in [last] if finished else stages:
        noted = values if stage is last else Values()
        damaged += [stage.where(index) for index, record in sorted(journal.records(stage.name).items())
                    if not _gives_checksum(stage, index, record, noted)]
    faults = tuple(_faults(last, journal)) if finished and not damaged else ()
    return Stored(tuple(damaged), faults, values)


def _gives_checksum(stage: Stage, index: int, record: Json, values: Values) -> bool:
    sink = stage.sink
    if sink is None:
        return True
    try:
        return bool(checksum_of(values.noted(sink.read(box)) for box in stage.stored(index)) == record["checksum"])
    except SinkError:
        return False


def _faults(last: Stage, journal: Journal) -> Iterator[str]:
    sink = last.sink
    if not isinstance(sink, InspectedSink):
        return
    try:
        yield from sink.level_faults()
        recorded = journal.records("finish")[0].get("marks")
        if recorded is not None:  # earlier versions recorded none
            yield from unlike(sink.marks(), recorded)
    except SinkError as error:
        yield str(error)
