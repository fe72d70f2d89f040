"""A process that shares a run: which blocks it does, when it waits for others, when it leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from tiler.errors import Interrupted, SinkError
from tiler.options.sharing import Share
from tiler.ports import Json
from tiler.running.parts.shared_record import SharedRecord
from tiler.running.progress import whereabouts
from tiler.running.stage import Stage
from tiler.running.stages import NETWORK
from tiler.stores.claims import EXPIRES, Claims, folder_of

PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two looks at the journals of the others; each is longer than the one before."""

RUNS, LONGEST = 256, 16
"""Least number of runs of blocks into which a stage is cut for claims, where it has so many blocks, and the largest
number of blocks in a run: a run is what is lost for a while with its process."""


class Member:
    """A `tiler.running.team.Team` of this process and all others that share the run.

    Blocks of the network belong to parts, if the run has parts; all others are claimed by whoever is there.

    Parameters
    ----------
    record
        Record of the run.
    claims
        Claims of this process.
    share
        The part of this process; None if it claims its blocks.
    tell
        Receives notes for the user.
    stop
        Stops the run between two blocks.
    finishing
        Whether this process computes no block of the network, but what comes after it.
    """

    def __init__(self, record: SharedRecord, claims: Claims, share: Share | None, tell: Callable[[str], None],
                 stop: threading.Event, *, finishing: bool = False) -> None:
        self._record, self._claims, self._share, self._tell, self._stop = record, claims, share, tell, stop
        self._finishing = finishing
        self._parts: int | None = record.header["shared"]["parts"]
        self._wait = PAUSE

    def create(self, make: Callable[[], None]) -> None:
        while not self._record.records("created"):
            if self._claims.take("create"):
                self._record.refresh()  # whoever had the claim before may have made it
                if not self._record.records("created"):
                    make()
                    self._record.append("created", 0, {}, whereabouts())
            else:
                self._pause()

    def todo(self, stage: Stage) -> Iterator[int]:
        self._record.refresh()
        for index in self._own(stage) if self._has_owners(stage) else self._claimed(stage):
            self._wait = PAUSE
            yield index

    def wait(self, stage: Stage) -> bool:
        self._pause()
        missing = self._missing(stage)
        return not missing or not self._has_owners(stage) or self._waits_for(stage, missing)

    def may_finish(self) -> bool:
        self._record.refresh()
        if self._record.records("finish") or not self._claims.take("finish"):
            self._tell("all blocks are done; another process finishes the output")
            return False
        return True

    def finished(self, record: Json) -> None:
        self._record.finish(record)

    def _has_owners(self, stage: Stage) -> bool:
        return stage.name == NETWORK and (self._parts is not None or self._finishing)

    def _own(self, stage: Stage) -> Iterator[int]:
        """The blocks of the part of this process."""
        if self._share is None:
            return iter(())
        order, missing = list(stage.order), self._missing(stage)
        return (index for index in order[slice(*self._share.bounds(len(order)))] if index in missing)

    def _claimed(self, stage: Stage) -> Iterator[int]:
        """Blocks of runs that nobody has; then those of runs whose processes are lost."""
        folder = folder_of(stage.name)
        missing = self._missing(stage)
        runs = {str(number): run for number, run in enumerate(_runs(list(stage.order))) if missing & set(run)}
        taken = self._claims.claimed(folder)
        for name in sorted(runs, key=lambda name: name in taken):  # those that nobody has first, else in their order
            if self._claims.take(f"{folder}/{name}"):
                if name in taken:
                    self._record.refresh()
                done = self._record.records(stage.name)
                yield from (index for index in runs[name] if index not in done)

    def _missing(self, stage: Stage) -> set[int]:
        return set(stage.left(self._record.records(stage.name)))

    def _waits_for(self, stage: Stage, missing: set[int]) -> bool:
        """Whether all parts that have missing blocks are alive; else this process leaves, and says who is missing."""
        failed = len(missing & self._record.failures(stage.name).keys())
        many = f"{len(missing)} of {len(stage.grid)} blocks are missing{f' ({failed} failed)' if failed else ''}"
        if self._parts is None:
            raise SinkError(f"{many}, which the same command with `claim` computes")
        owners = parts_with(stage, missing, self._parts)
        lost = [part for part in owners if self._claims.holder(f"part {part}") is None]
        whose = f"{many}, those of {spoken(owners)}{_state(lost, owners)}"
        if self._finishing:
            raise SinkError(f"{whose}: the same command with `part` computes them")
        if lost or self._record.header["stages"][-1][0] == stage.name:
            self._tell(f"part {self._share} has done its blocks; {whose}; the last part finishes the output")
            return False
        return True

    def _pause(self) -> None:
        self._stop.wait(self._wait)
        self._wait = min(LONGEST_PAUSE, 1.2 * self._wait)
        if self._stop.is_set():
            raise Interrupted("stopped between two blocks; the same command goes on")
        self._record.refresh()


def take_part(claims: Claims, share: Share, tell: Callable[[str], None], stop: threading.Event) -> None:
    """Claim a part; if a process on another machine has it, wait until that one is heard of or counts as lost.

    Raises
    ------
    SinkError
        If another process is doing this part.
    """
    first = None
    while not claims.take(f"part-{share.number}"):
        holder = claims.holder(f"part {share}")
        if holder is None:
            continue
        if first is None:
            first = holder
            tell(f"part {share} was begun by process {holder.process} on {holder.host}: waiting until it is heard of "
                 f"again, or for {EXPIRES - holder.age:.0f} s not")
        if holder.host == claims.me.host or (holder.id, holder.time) != (first.id, first.time):
            raise SinkError(f"part {share} is being done by process {holder.process} on {holder.host}: wait for it, "
                            "or choose another part", option="part")
        stop.wait(PAUSE)
        if stop.is_set():
            raise Interrupted("stopped before the first block")


def parts_with(stage: Stage, blocks: set[int], parts: int) -> list[Share]:
    """The parts that have some of these blocks."""
    order = list(stage.order)
    shares = (Share(number, parts) for number in range(parts))
    return [share for share in shares if not blocks.isdisjoint(order[slice(*share.bounds(len(order)))])]


def spoken(parts: Sequence[Share]) -> str:
    """``parts 0, 3 and 7 of 16``."""
    *some, last = [str(part.number) for part in parts]
    numbers = f"parts {', '.join(some)} and {last}" if some else f"part {last}"
    return f"{numbers} of {parts[0].of}"


def _state(lost: Sequence[Share], owners: Sequence[Share]) -> str:
    if len(lost) == len(owners):
        return ", not running now"
    return f" ({spoken(lost)} not running now)" if lost else ", which are running"


def _runs(order: list[int]) -> list[list[int]]:
    """The blocks of a stage in runs, which are claimed as a whole."""
    length = max(1, min(LONGEST, len(order) // RUNS))
    return [order[first:first + length] for first in range(0, len(order), length)]
