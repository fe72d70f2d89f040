"""One run at a time on an output of an object store: a lock that expires unless its holder renews it.

The lock is an object that says who holds it. It is made and renewed by conditional writes, so that two runs cannot
both have it; on a store that has no such writes it is a courtesy. One that was not renewed for `EXPIRES` seconds, or
whose holder was a process of this machine that is gone, is taken over.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import psutil

from tiler.errors import JournalError, StoreError
from tiler.stores.address import Address
from tiler.stores.label_places import beside
from tiler.stores.objects import Mark, Stored, Taken, delete, get, put_if

RENEWED, EXPIRES = 20.0, 90.0
log = logging.getLogger(__name__)


@contextmanager
def leased(output: Address) -> Iterator[None]:
    """Hold the lock of an output.

    Raises
    ------
    JournalError
        If another run holds it.
    """
    holder = _Holder(cast(Address, beside(output, ".lock")))
    holder.take(output)
    renewing = threading.Thread(target=holder.renew, name="tiler-lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        holder.released.set()
        renewing.join()
        holder.give_back()


class _Holder:
    """This run's entry in the lock object, and the store's mark of its last renewal."""

    def __init__(self, address: Address) -> None:
        self.address, self.released = address, threading.Event()
        self._id, self._mark = uuid.uuid4().hex, Mark(None, None)

    def _content(self) -> bytes:
        return json.dumps({"id": self._id, "host": socket.gethostname(), "process": os.getpid(),
                           "time": time.time()}).encode()

    def take(self, output: Address) -> None:
        found = get(self.address)
        said = None if found is None else _Said.of(found)
        if said is not None and said.alive:
            raise JournalError(f"another run is writing {output}, process {said.process} on {said.host}, last heard "
                               f"of {said.age:.0f} s ago (after {EXPIRES:.0f} s it counts as dead): wait for it, or "
                               "choose another `output`")
        try:
            self._mark = put_if(self.address, self._content(), None if found is None else found.mark)
        except Taken:
            raise JournalError(f"another run has just begun to write {output}: wait for it, or choose another "
                               "`output`") from None

    def renew(self) -> None:
        """Until it is released; a store that does not answer is asked again at the next turn."""
        while not self.released.wait(RENEWED):
            try:
                self._mark = put_if(self.address, self._content(), self._mark)
            except Taken:
                log.warning("%s was taken over by another run", self.address)
                return
            except StoreError as error:
                log.warning("the lock could not be renewed: %s", error)

    def give_back(self) -> None:
        """Unless another run has it by now."""
        try:
            found = get(self.address)
            if found is not None and found.mark == self._mark:
                delete(self.address)
        except StoreError as error:  # the lock expires anyway, and the first error matters more
            log.warning("the lock could not be given back: %s", error)


@dataclass(frozen=True, slots=True)
class _Said:
    """Who holds a lock, and when that was last said."""

    time: float
    host: str
    process: int

    @classmethod
    def of(cls, found: Stored) -> _Said:
        """A lock that makes no sense is taken for one that was left behind long ago."""
        try:
            said = json.loads(found.content)
            return cls(float(said["time"]), str(said["host"]), int(said["process"]))
        except (ValueError, TypeError, KeyError):
            return cls(0.0, "", 0)

    @property
    def age(self) -> float:
        return max(0.0, time.time() - self.time)

    @property
    def alive(self) -> bool:
        return self.age <= EXPIRES and (self.host != socket.gethostname() or psutil.pid_exists(self.process))
