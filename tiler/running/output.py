"""The output of a run and the files beside it.

::

    out.zarr                     the complete output
    out.zarr.partial             the output until it is complete
    out.zarr.stage.zarr          the output of the network, from which objects are made
    out.zarr.whole.stage.zarr    objects before they are split
    out.zarr.objects.stage.zarr  objects before they grow
    out.zarr.posted.stage.zarr   the result before the user's own step
    out.zarr.shelf               tables that a later stage reads
    out.zarr.journal             the record of finished blocks
    out.zarr.parts               journals and claims of processes that share the run
    out.zarr.lock                an empty file that a run locks; it is kept, because without it two runs could start

Object stores cannot rename: there, the attributes of an unfinished output mark it as such, and the lock is an object
that its holder renews.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from filelock import FileLock, Timeout

from tiler.errors import JournalError, SinkError, StoreError
from tiler.machine import free_disk, used_disk
from tiler.ports import Json, OutputSpec, Sink
from tiler.running.destination import STAGES, StageName
from tiler.running.journal import PARTS, Journal, journal_path
from tiler.sinks import discard_unfinished, is_own, is_unfinished, is_whole, open_sink, partial_path
from tiler.sinks.target import Target, remove
from tiler.stores import asking
from tiler.stores.address import Address, Place, by_place, place_of
from tiler.stores.label_places import beside, check_name
from tiler.stores.shelf import Shelf, shelf_at


class State(Enum):
    """State of an output, as shown by its name, its unfinished parts and its journal."""

    NOTHING = "nothing"
    UNFINISHED = "unfinished"
    FINISHED = "finished"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class Output(ABC):
    """An output that can be resumed and checked: a `Destination`. Made by `output_of`."""

    place: Place

    def __str__(self) -> str:
        return str(self.place)

    def sink(self, spec: OutputSpec) -> Sink:
        return open_sink(self.place, spec)

    def stage(self, spec: OutputSpec, name: StageName = "labels") -> Sink:
        kept = {key: value for key, value in spec.storage.items() if key == "compression"}
        return open_sink(beside(self.place, STAGES[name]), replace(spec, storage=kept))

    def shelf(self, name: str) -> Shelf:
        return shelf_at(self.shelf_place / name)

    @property
    def journal_place(self) -> Place:
        return journal_path(self.place)

    @property
    def stage_places(self) -> list[Place]:
        """Places where an earlier stage may have left data for a later one."""
        return [beside(self.place, suffix) for suffix in STAGES.values()]

    @property
    def parts_place(self) -> Place:
        """Folder of what the processes of a shared run write beside it."""
        return beside(self.place, PARTS)

    @property
    def shelf_place(self) -> Place:
        return beside(self.place, ".shelf")

    @property
    def state(self) -> State:
        """Whether the output is absent, finished, unfinished or not written by tiler.

        Raises
        ------
        JournalError
            If the journal is damaged.
        """
        if not self.has_journal:
            if is_whole(self.place):
                return State.FOREIGN
            return State.UNFINISHED if is_unfinished(self.place) else State.NOTHING
        finished = Journal.load(self.journal_place).records("finish") and is_whole(self.place)
        return State.FINISHED if finished else State.UNFINISHED

    def begin_journal(self, header: Json) -> Journal:
        """Create a new journal that replaces an older one."""
        try:
            return Journal.create(self.journal_place, header)
        except StoreError:
            raise
        except (JournalError, OSError) as error:
            self._remove_journal()
            reason = (isinstance(error, OSError) and error.strerror) or error
            raise JournalError(f"cannot write the journal of {self}: {reason}") from error

    def resume_journal(self) -> Journal:
        """Open the journal to continue it.

        Raises
        ------
        JournalError
            If there is no journal, it is damaged, or the output that it describes is gone.
        """
        journal = Journal.reopen(self.journal_place)
        if journal.records("created") and not (is_unfinished(self.place) or is_whole(self.place)):
            journal.close()
            raise JournalError(f"there is a journal of {self}, but the unfinished output is gone: start anew with "
                               "`overwrite=True`")
        return journal

    def discard(self, *, journal: bool = True) -> None:
        """Remove what an older run left beside the output; that stays until it is replaced, and the journal may, too.

        Raises
        ------
        SinkError
            If it cannot be removed.
        """
        try:
            if journal:
                self._remove_journal()
            discard_unfinished(self.place)
            self.discard_stage()
        except StoreError:
            raise
        except OSError as error:
            raise SinkError(f"cannot remove what an older run left of {self}: {error.strerror or error}") from error

    def check_replaceable(self) -> None:
        """Refuse to replace a folder that tiler did not write.

        Raises
        ------
        SinkError
            If the name of the output belongs to a folder that is not an output of tiler.
        """
        if self.has_journal:
            return
        for folder in self._folders():
            if not self._is_own(folder):
                raise SinkError(f"{folder} was not written by tiler, so `overwrite=True` does not delete it: remove it "
                                "yourself, or choose another output", option="output")

    @property
    def objects(self) -> int | None:
        """Number of objects in a finished output; None if it has none."""
        counted = Journal.load(self.journal_place).records("merge") if self.has_journal else {}
        return int(counted[0]["count"]) if counted else None

    @property
    @abstractmethod
    def has_journal(self) -> bool: ...

    @property
    @abstractmethod
    def free(self) -> int | None:
        """Bytes that can be written, counting leftovers of an older run that are removed first; None if unknown."""

    @abstractmethod
    def lock(self) -> AbstractContextManager[None]:
        """Lock the output for one run at a time.

        Raises
        ------
        JournalError
            If another run holds the lock.
        SinkError
            If the folder of the output is not writable.
        """

    @abstractmethod
    def discard_stage(self) -> None: ...

    @abstractmethod
    def _remove_journal(self) -> None: ...

    @abstractmethod
    def _folders(self) -> list[Place]:
        """Folders that a run would delete because they have the names of its own files."""

    @abstractmethod
    def _is_own(self, folder: Place) -> bool:
        """Whether a folder is empty or holds an output of tiler."""


class LocalOutput(Output):
    """An output on a disk."""

    place: Path

    @property
    def has_journal(self) -> bool:
        return Path(str(self.journal_place)).exists()

    @property
    def free(self) -> int | None:
        left = (partial_path(self.place), *self._stage_leftovers())
        return free_disk(self.place) + sum(map(used_disk, left))

    @contextmanager
    def lock(self) -> Iterator[None]:
        path = Path(str(beside(self.place, ".lock")))
        lock = FileLock(path, timeout=0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            if not path.exists():  # filelock takes a lock that cannot be made for one that is held
                raise SinkError(f"cannot write {self}: nothing can be made in {path.parent}", option="output") from None
            raise JournalError(f"another run is writing {self}: wait for it, or choose another `output`") from None
        except (FileExistsError, NotADirectoryError):
            raise SinkError(f"cannot write {self}: its folder {path.parent} is a file", option="output") from None
        except OSError as error:
            raise SinkError(f"cannot write {self}: {error.strerror or error}", option="output") from error
        try:
            yield
        finally:
            lock.release()

    def discard_stage(self) -> None:
        for leftover in self._stage_leftovers():
            remove(leftover)

    def _stage_leftovers(self) -> list[Path]:
        """Existing folders of earlier stages, complete or not; folders with similar names are left alone."""
        stages = [Target(Path(str(place))) for place in self.stage_places]
        names = [path for stage in stages for path in (stage.path, stage.partial, stage.aside)]
        return [path for path in (*names, Path(str(self.shelf_place))) if path.is_dir()]

    def _remove_journal(self) -> None:
        Path(str(self.journal_place)).unlink(missing_ok=True)
        remove(Path(str(self.parts_place)))

    def _folders(self) -> list[Place]:
        target = Target(self.place)
        return [path for path in (target.path, target.partial, target.aside) if path.is_dir()]

    def _is_own(self, folder: Place) -> bool:
        with os.scandir(str(folder)) as entries:
            return next(entries, None) is None or is_own(self.place, folder)


class StoreOutput(Output):
    """An output on an object store."""

    place: Address

    @property
    def has_journal(self) -> bool:
        return bool(asking().exists(self.journal_place))

    @property
    def free(self) -> int | None:
        return None

    def lock(self) -> AbstractContextManager[None]:
        held: AbstractContextManager[None] = asking("lease").leased(self.place)
        return held

    def discard_stage(self) -> None:
        for place in (*self.stage_places, self.shelf_place):
            asking().remove(place)

    def _remove_journal(self) -> None:
        asking().remove(self.journal_place)
        asking().remove(self.parts_place)

    def _folders(self) -> list[Place]:
        return [self.place] if asking().exists(self.place) else []

    def _is_own(self, folder: Place) -> bool:
        return is_own(self.place, folder)


def output_of(text: str | os.PathLike[str] | Address) -> Output:
    """The output that a path or an address names.

    Raises
    ------
    StoreError
        If the address holds credentials or is malformed.
    SinkError
        If the path has no name, or one that the file system does not accept.
    """
    place = place_of(text)
    check_name(place)
    return by_place(place, LocalOutput, StoreOutput)
