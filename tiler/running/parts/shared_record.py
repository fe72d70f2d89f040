"""The record of a run that several processes share: each writes its own journal and reads those of the others."""

from __future__ import annotations

from contextlib import closing

from tiler.ports import Json
from tiler.running.journal import Entries, Journal, Tail, parts_of
from tiler.stores.address import Place


class SharedRecord:
    """A `tiler.running.progress.Record` of all processes of a run.

    Parameters
    ----------
    main
        Place of the journal that holds the plan.
    header
        Its first line.
    own
        The journal of this process.
    """

    def __init__(self, main: Place, header: Json, own: Journal) -> None:
        self.main, self.header, self.own = main, header, own
        self._tails = {main: Tail(main)}
        self.refresh()

    def append(self, stage: str, index: int, record: Json, about: Json | None = None) -> None:
        self.own.append(stage, index, record, about)

    def set_aside(self, stage: str, index: int, reason: str) -> None:
        self.own.set_aside(stage, index, reason)

    def forget(self, stage: str, index: int) -> None:
        self.own.forget(stage, index)

    def finish(self, record: Json) -> None:
        """Record in the journal of all that the output has its name."""
        with closing(Journal.reopen(self.main)) as journal:
            journal.append("finish", 0, record)

    def records(self, stage: str) -> dict[int, Json]:
        """Records of a stage, by block, as far as they were known at the last `refresh`."""
        found: dict[int, Json] = {}
        for entries in self._entries():
            found.update(entries.records.get(stage, {}))
        return found | self.own.records(stage)

    def failures(self, stage: str) -> dict[int, str]:
        """Reasons why blocks of a stage were set aside and not done since, by block."""
        found: dict[int, str] = {}
        for entries in self._entries():
            found.update(entries.failures.get(stage, {}))
        done = self.records(stage)
        return {index: why for index, why in (found | self.own.failures(stage)).items() if index not in done}

    def refresh(self) -> None:
        """Read what the other processes have recorded since."""
        for place in parts_of(self.main, self.header):
            if place != self.own.path:
                self._tails.setdefault(place, Tail(place))
        for tail in self._tails.values():
            tail.follow()

    def _entries(self) -> list[Entries]:
        return [tail.entries for tail in self._tails.values()]
