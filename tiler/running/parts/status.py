"""How far a run is, from its journals alone."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from tiler.jobs.tried import SECONDS
from tiler.ports import Json
from tiler.running.journal import Entries, Journal, Tail, parts_of, parts_place
from tiler.running.output import Output
from tiler.stores.claims import Holder, living
from tiler.stores.notes import notes_at

WINDOW = 100
"""Number of the last blocks from which the rate is taken."""

SILENT = 120.0
"""Seconds without a block after which a process of another machine counts as lost, or ten blocks, whichever is longer;
only for runs of one process, since those that share a run say that they are alive."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Blocks of one stage.

    Parameters
    ----------
    name
        Its name.
    done, failed, blocks
        Number of blocks that are done, that were set aside, and of all.
    read, compute, write
        Seconds that the steps of the finished blocks took, added up over all threads and processes.
    """

    name: str
    done: int
    failed: int
    blocks: int
    read: float
    compute: float
    write: float


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One of the processes of a run.

    Parameters
    ----------
    name
        ``part 3/16``, or ``claims`` of a process that claims its blocks; empty for one that is alone.
    host, process
        Where it ran last; empty and 0 where that is unknown.
    blocks
        Number of blocks of the present stage that it has done.
    alive
        Whether it is alive.
    silent
        Seconds since its last block; None before the first one.
    """

    name: str
    host: str
    process: int
    blocks: int
    alive: bool
    silent: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is.

    Parameters
    ----------
    output
        Its name.
    finished
        Whether the output has its name.
    stage
        Name of the present stage: the first that is not complete; "finish" if all are.
    stages
        All stages in their order.
    processes
        All processes that have taken part.
    missing
        Parts that were never begun, of a run that has parts.
    voxels_per_second
        Rate of all processes in the present stage; 0 if it is unknown.
    seconds_left
        Time left for the present stage at this rate; None if it is unknown.
    """

    output: str
    finished: bool
    stage: str
    stages: tuple[StageStatus, ...]
    processes: tuple[ProcessStatus, ...]
    missing: tuple[int, ...]
    voxels_per_second: float
    seconds_left: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def status_of(output: Output) -> Status:
    """The status of an output.

    Raises
    ------
    JournalError
        If there is no journal, or it is damaged.
    """
    main = Journal.load(output.journal_place)
    stages = tuple(_stage(main, name, blocks) for name, blocks in _stages(main.header))
    finished = bool(main.records("finish"))
    now = next((stage for stage in stages if stage.done < stage.blocks), None)
    rate = 0.0 if finished or now is None else _rate(main.about(now.name))
    shown = now.name if now is not None else stages[-1].name
    processes = _sharing(main, shown) if "shared" in main.header else _alone(main, shown, finished)
    return Status(
        output=str(output), finished=finished, stage="finish" if now is None else now.name, stages=stages,
        processes=tuple(processes), missing=_missing(main.header, processes),
        voxels_per_second=rate * _voxels(main.header, now) if now is not None else 0.0,
        seconds_left=(now.blocks - now.done) / rate if now is not None and rate > 0 else None)


def _stages(header: Json) -> Sequence[tuple[str, int]]:
    """Names and numbers of blocks; journals of earlier versions do not hold them."""
    counts = [-(-(stop - start) // side) for start, stop, side in zip(*header["plan"]["region"],
                                                                      header["plan"]["block"], strict=True)]
    return [(name, blocks) for name, blocks in header.get("stages", [["model", math.prod(counts)]])]


def _stage(journal: Journal, name: str, blocks: int) -> StageStatus:
    seconds = [about[SECONDS] for about in journal.about(name).values() if SECONDS in about]
    read, compute, write = (round(sum(each[step] for each in seconds), 3) for step in range(3))
    return StageStatus(name, len(journal.records(name)), len(journal.failures(name)), blocks, read, compute, write)


def _voxels(header: Json, stage: StageStatus) -> float:
    """Mean number of voxels in a block, as if each stage went through the region once."""
    start, stop = header["plan"]["region"]
    return float(math.prod(b - a for a, b in zip(start, stop, strict=True))) / stage.blocks


def _rate(about: Mapping[int, Json]) -> float:
    """Blocks a second, from the last of them until now."""
    times = sorted(float(each["at"]) for each in about.values())[-WINDOW:]
    return (len(times) - 1) / max(time.time() - times[0], 1e-3) if len(times) > 1 else 0.0


def _silent(about: Mapping[int, Json]) -> float | None:
    times = [float(each["at"]) for each in about.values()]
    return round(max(0.0, time.time() - max(times)), 1) if times else None


def _sharing(main: Journal, stage: str) -> list[ProcessStatus]:
    here = {(holder.name, holder.host, holder.process) for holder in living(notes_at(
        parts_place(main.path, main.header)))}
    tails = [Tail(place) for place in parts_of(main.path, main.header)]
    return [_process(str((tail.header or {}).get("name", "")), tail.entries, stage, here) for tail in tails]


def _process(name: str, entries: Entries, stage: str, here: set[tuple[str, str, int]]) -> ProcessStatus:
    where = entries.about.get("here", {}).get(0, {"host": "", "process": 0})
    return ProcessStatus(name, where["host"], where["process"], len(entries.records.get(stage, {})),
                         (name, where["host"], where["process"]) in here, _silent(entries.about.get(stage, {})))


def _alone(main: Journal, stage: str, finished: bool) -> list[ProcessStatus]:
    where = main.about("created").get(0)
    if where is None:
        return []
    about = main.about(stage)
    silent, rate = _silent(about), _rate(about)
    age = time.time() - where["at"] if silent is None else silent
    holder = Holder("", "", where["host"], where["process"], time.time())
    alive = psutil.pid_exists(holder.process) if holder.host == socket.gethostname() else \
        age < max(SILENT, 10 / rate if rate else 0.0)
    return [ProcessStatus("", where["host"], where["process"], len(main.records(stage)), alive and not finished,
                          silent)]


def _missing(header: Json, processes: Sequence[ProcessStatus]) -> tuple[int, ...]:
    parts = header["shared"]["parts"] if "shared" in header else None
    begun = {process.name for process in processes}
    return () if parts is None else tuple(part for part in range(parts) if f"part {part}/{parts}" not in begun)
