"""A stage: one pass over numbered blocks, journalled under its own name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from tiler.errors import DamagedError
from tiler.geometry import Box
from tiler.jobs.segment import checksum_of, stamped
from tiler.ports import Job, Json, Listener, Sink

Records = Mapping[int, Json]
"""The journal's records of one stage, by block."""

Findings = Mapping[str, Any]
"""Results of the earlier stages of a run, by the name of the stage."""


class Recorded(Protocol):
    """The methods of a journal with which a run is resumed."""

    def records(self, stage: str) -> dict[int, Json]: ...
    def forget(self, stage: str, index: int) -> None: ...


class Stage(ABC):
    """One pass over numbered blocks. `tiler.running.stages` lists those of a run; performing, resuming and checking a
    run go through that list.

    Attributes
    ----------
    name
        Name in the journal and for listeners.
    sequential
        Whether each block needs the result of the block before it, so that blocks run one by one in this process.
    reads_input
        Whether its blocks are computed from the input, so that recomputing some of them detects a changed input.
    tiles
        Number of tiles of all its blocks, for progress; None if it does not run the network tile by tile.
    """

    name: str
    sequential = False
    reads_input = True
    tiles: int | None = None

    @property
    @abstractmethod
    def grid(self) -> Sequence[Box]:
        """Its blocks."""

    @property
    def order(self) -> Iterable[int]:
        """Numbers of its blocks in the order of the visits; several stages of one name may share a grid."""
        return range(len(self.grid))

    def left(self, records: Records) -> list[int]:
        """Its blocks that are not recorded, in the order of the visits."""
        return [index for index in self.order if index not in records]

    @property
    def spent(self) -> Sequence[str]:
        """Names of the stages whose results no later stage uses."""
        return ()

    def free(self) -> None:  # noqa: B027  most stages leave nothing
        """Remove what no later stage reads; called when the stage is complete, and again if the run is resumed."""

    @abstractmethod
    def job(self, found: Findings, records: Records) -> Job:
        """The job that an executor runs.

        Parameters
        ----------
        found
            Results of the earlier stages.
        records
            Earlier records of this stage, if the run is resumed.
        """

    def merge(self, found: Findings, records: Records) -> Any:
        """Result of the stage for later stages, made from the records of all its blocks."""
        return None

    @property
    def sink(self) -> Sink | None:
        """The sink that stores its blocks; None if the records are the whole result."""
        return None

    def stored(self, index: int) -> Sequence[Box]:
        """The boxes of the sink that one record's checksum covers, in their order."""
        return ()

    def again(self, found: Findings, index: int) -> Json:
        """Recompute the record of a block without writing anything."""
        job = self.job(found, {})
        return job.write(index, job.compute(index, job.read(index)))

    def remarks(self, found: Findings, job: Job, listener: Listener) -> tuple[Json, Json]:
        """Entries that a complete stage adds to the output's metadata and to the journal's last line.

        ``found`` holds the results of this stage and the earlier ones.
        """
        return {}, {}

    def is_there(self) -> bool:
        """Whether files that the stage wrote beside its sink are still there."""
        return True

    def where(self, index: int) -> str:
        """Name of a block in messages."""
        return f"block {index} at {self.grid[index]}"


def output_stage(stages: Sequence[Stage]) -> Stage:
    """The stage that writes the output: the last one with a sink."""
    return next(stage for stage in reversed(stages) if stage.sink is not None)


def is_sound(stage: Stage, index: int, record: Json) -> bool:
    """Whether the stored voxels of a block can be read and match the checksum of its record."""
    sink = stage.sink
    try:
        if sink is None:
            return stage.is_there()
        return bool(checksum_of(map(sink.read, stage.stored(index))) == record["checksum"])
    except DamagedError:
        return False


def is_touched(stage: Stage, index: int, record: Json) -> bool:
    """Whether the files of a block changed after writing, as far as their stamps show."""
    sink = stage.sink
    if sink is None:
        return not stage.is_there()
    return "stamp" in record and stamped(sink, stage.stored(index)) != {"stamp": record["stamp"]}
