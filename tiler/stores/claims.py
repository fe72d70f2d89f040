"""Claims of processes on pieces of work, which run out when their holder is no longer heard of.

::

    alive/3f9c02ab     "still here", renewed by its process every 20 s
    claims/model/17.0  who has run 17 of a stage
    claims/model/17.1  who took it over when that process was lost

A claim is never changed or removed: whoever takes it over makes the next one of its name, and only one can.
Clocks of the machines must agree within half a minute. If a process that was suspended for long goes on with a piece
that another one has taken over, both write the same bytes.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

import psutil

from tiler.stores.notes import Notes

RENEWED, EXPIRES = 20.0, 90.0
LOOKED = 2.0
"""Seconds for which a holder counts as alive without looking again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that claims work, and when it was last heard of."""

    id: str
    name: str
    host: str
    process: int
    time: float

    @classmethod
    def of(cls, content: bytes) -> Holder:
        """A note that makes no sense is taken for one of a process that is gone."""
        try:
            said = json.loads(content)
            return cls(str(said["id"]), str(said["name"]), str(said["host"]), int(said["process"]),
                       float(said["time"]))
        except (ValueError, TypeError, KeyError):
            return cls("", "", "", 0, 0.0)

    @classmethod
    def here(cls, name: str) -> Holder:
        """This process, with an id of its own."""
        return cls(uuid.uuid4().hex[:8], name, socket.gethostname(), os.getpid(), time.time())

    def to_bytes(self) -> bytes:
        return json.dumps({"id": self.id, "name": self.name, "host": self.host, "process": self.process,
                           "time": time.time()}).encode()

    @property
    def age(self) -> float:
        return max(0.0, time.time() - self.time)

    @property
    def alive(self) -> bool:
        """Whether it was heard of lately, and its process exists if it ran on this machine."""
        return self.age <= EXPIRES and (self.host != socket.gethostname() or psutil.pid_exists(self.process))


def living(notes: Notes) -> list[Holder]:
    """All processes that are alive."""
    found = [notes.read(f"alive/{name}") for name in notes.names("alive")]
    return [holder for holder in map(Holder.of, filter(None, found)) if holder.alive]


def folder_of(stage: str) -> str:
    """Name of the folder of the claims of a stage."""
    return stage.replace(" ", "-")


class Claims:
    """The claims of this process; a context within which it counts as alive.

    Parameters
    ----------
    notes
        Where the processes leave their notes.
    name
        Name of this process for others, such as ``part 3/16``.
    """

    def __init__(self, notes: Notes, name: str) -> None:
        self.me, self._notes = Holder.here(name), notes
        self._seen: dict[str, float] = {}
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="tiler-alive", daemon=True)

    def __enter__(self) -> Claims:
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._left.set()
        self._thread.join()
        self._quietly(lambda: self._notes.remove(f"alive/{self.me.id}"))

    def take(self, what: str) -> bool:
        """Claim a piece of work, unless another living process has it."""
        for generation in count():
            name = f"claims/{what}.{generation}"
            if self._notes.create(name, self.me.to_bytes()):
                return True
            holder = Holder.of(self._notes.read(name) or b"")
            if holder.id == self.me.id:
                return True
            if self._is_alive(holder):
                return False
        raise AssertionError("endless")

    def claimed(self, folder: str) -> set[str]:
        """Names of all pieces in a folder that somebody has claimed, dead or alive."""
        return {name.rpartition(".")[0] for name in self._notes.names(f"claims/{folder}")}

    def holder(self, name: str) -> Holder | None:
        """Another living process of that name, with the time of its last renewal."""
        others = (found for found in living(self._notes) if found.id != self.me.id)
        return next((found for found in others if found.name == name), None)

    def tidy(self, stages: Iterable[str]) -> None:
        """Remove the claims of finished stages, and what processes left that were killed.

        Other claims stay, above all that of finishing, which nobody may take again.
        """
        for stage in stages:
            self._notes.remove(f"claims/{folder_of(stage)}")
        alive = {holder.id for holder in living(self._notes)}
        for name in self._notes.names("alive"):
            if name not in alive and "." not in name:  # a draft may be one that is being written
                self._notes.remove(f"alive/{name}")

    def _is_alive(self, holder: Holder) -> bool:
        if time.monotonic() - self._seen.get(holder.id, -LOOKED) < LOOKED:
            return True
        content = self._notes.read(f"alive/{holder.id}") if holder.id else None
        if content is None or not Holder.of(content).alive:
            return False
        self._seen[holder.id] = time.monotonic()
        return True

    def _beat(self) -> None:
        self._notes.write(f"alive/{self.me.id}", self.me.to_bytes())

    def _renew(self) -> None:
        while not self._left.wait(RENEWED):
            self._quietly(self._beat)

    def _quietly(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:  # errors of stores are OSErrors, too; the claim expires anyway
            log.warning("claims could not be renewed: %s", error)
