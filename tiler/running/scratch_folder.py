"""The folder of the tensors that a run stores on disk: where it lies, and whether the disk has room for it."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from pathlib import Path

from tiler.errors import SinkError
from tiler.jobs.scratch import Scratch
from tiler.machine import free_disk, used_disk
from tiler.planning.plan import Plan
from tiler.planning.tile_choice import MB
from tiler.ports import Room
from tiler.running.destination import Destination
from tiler.running.journal import Journal
from tiler.running.output import Output
from tiler.stores.label_places import beside

SUFFIX = ".scratch"


def folder_of(plan: Plan, output: Destination, wanted: str | None) -> Path | None:
    """The folder for the stored tensors of a run; None if it stores none.

    Parameters
    ----------
    plan
        The plan of the run.
    output
        Its output. A run that can be resumed finds the same folder again.
    wanted
        Folder that the user chose; None for the one beside the output, or for the system's temporary folder if the
        result is an array.

    Raises
    ------
    SinkError
        If the output is on an object store, and no folder was chosen.
    """
    if not plan.out_of_core:
        return None
    if not isinstance(output, Output):
        return Path(wanted or tempfile.gettempdir()) / f"tiler-{uuid.uuid4().hex}{SUFFIX}"
    folder = folder_in(output, wanted)
    if folder is None:
        raise SinkError("the tensors of the network do not fit into memory and are stored on a disk: name a folder "
                        "for them (`scratch`), or raise `memory`", option="scratch")
    return folder


def folder_in(output: Output, wanted: str | None) -> Path | None:
    """The folder in the one that the user chose, else beside the output; None beside an object."""
    if wanted is not None:
        place = output.place.absolute()
        key = hashlib.blake2b(str(place).encode(), digest_size=4).hexdigest()
        return Path(wanted) / f"{place.name}-{key}{SUFFIX}"
    return Path(str(beside(output.place, SUFFIX))) if isinstance(output.place, Path) else None


def room_with(room: Room, plan: Plan, folder: Path | None, output: Output) -> Room:
    """The disk space of an output, with the stored tensors if they lie beside it.

    Raises
    ------
    SinkError
        If the disk of the folder has too little room for them.
    """
    if folder is None or plan.scratch is None:
        return room
    beside_output = folder == folder_in(output, None)
    free = free_disk(folder) + used_disk(folder)
    needed = plan.scratch.bytes + (room.output * room.reserved if beside_output else 0)
    if needed > free:
        raise SinkError(f"the tensors that are stored in {folder} take {plan.scratch.bytes // MB + 1} MB, {free // MB} "
                        "MB are free there: choose another disk (`scratch`), or raise `memory`", option="scratch")
    extra = plan.scratch.bytes if beside_output else 0
    return Room(room.output, room.temporary + extra, room.reserved)


def discard_old_scratch(output: Output) -> None:
    """Remove the tensors that an earlier run of an output stored, also in a folder that its user chose.

    Raises
    ------
    JournalError
        If its journal is damaged.
    """
    header = Journal.load(output.journal_place).header
    plan, options = header.get("plan", {}), header.get("options", {})
    if (plan.get("scratch") or {}).get("on_disk"):
        folder = folder_in(output, options.get("scratch"))
        if folder is not None:
            Scratch(folder).clear()
