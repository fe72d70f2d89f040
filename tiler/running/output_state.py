"""Whether a run starts, goes on or has finished: the state of an output on disk or on an object store."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tiler.errors import JournalError, PlanChangedError, SinkError, StoreError
from tiler.planning.resolve import as_loaded
from tiler.ports import Json
from tiler.running.journal import Journal, journal_path
from tiler.running.perform import remove_stage
from tiler.sinks import discard_unfinished, is_unfinished, is_whole
from tiler.stores import asking
from tiler.stores.address import Address, Place, is_address, place_of
from tiler.stores.label_places import is_label


class State(Enum):
    """What stands on the disk under the name of an output."""

    NOTHING = "nothing"
    UNFINISHED = "unfinished"
    FINISHED = "finished"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Intent:
    """What the user says about an output that is already there."""

    resume: bool = False
    overwrite: bool = False
    verify: bool = False
    same_input: bool = False


def state_of(output: Place) -> State:
    """Tell a finished run, an unfinished one and what tiler did not write apart.

    Raises
    ------
    JournalError
        If there is a journal that cannot be trusted.
    """
    journal = journal_path(output)
    if not _exists(journal):
        if is_whole(output):
            return State.FOREIGN
        return State.UNFINISHED if is_unfinished(output) else State.NOTHING
    return State.FINISHED if Journal.load(journal).records("finish") and is_whole(output) else State.UNFINISHED


def _exists(journal: Place) -> bool:
    return bool(asking().exists(journal)) if isinstance(journal, Address) else journal.exists()


def refuse_own_input(source: object, output: Place) -> None:
    """Refuse to replace the input, or to write into it.

    Raises
    ------
    SinkError
        If the output is the input, holds it, or lies inside an input that is a zarr, unless as one of its labels.
    """
    if not isinstance(source, (str, Path, Address)) or is_address(source) != isinstance(output, Address):
        return
    given, wanted = place_of(source).resolve(), output.resolve()
    if given == wanted:
        raise SinkError(f"{output} is the input: choose another output (-o)")
    if wanted in given.parents:
        raise SinkError(f"{output} holds the input {source}: choose another output (-o)")
    if not is_label(output) and any(folder == given and folder.suffix == ".zarr" for folder in wanted.parents):
        raise SinkError(f"{output} lies inside the input {source}: choose another output (-o)")


def check_intent(output: Place, intent: Intent) -> None:
    """Refuse to touch what is there unless the user said what to do with it.

    Raises
    ------
    SinkError
        If something is there and neither --resume nor --overwrite was given, or --resume cannot be done.
    """
    if intent.resume and intent.overwrite:
        raise SinkError("give --resume or --overwrite, not both")
    if intent.overwrite:
        return
    state = state_of(output)
    if state is State.FOREIGN and intent.resume:
        raise SinkError(f"{output} exists and has no journal, so it cannot be resumed: --overwrite replaces it")
    if state in (State.FOREIGN, State.FINISHED) and not intent.resume:
        raise SinkError(f"{output} exists: --overwrite replaces it, -o chooses another name")
    if state is State.UNFINISHED and not intent.resume:
        raise SinkError(f"{output} has an unfinished run: --resume goes on with it, --overwrite starts anew")


def check_same(stored: Json, now: Json, same_input: bool) -> None:
    """Compare what can change the result, as far as ``now`` tells it.

    Raises
    ------
    PlanChangedError
        Naming the fields that differ.
    """
    changed = dict(_differences({name: stored.get(name) for name in now}, as_loaded(now)))
    if same_input:
        changed = {name: pair for name, pair in changed.items() if not name.startswith("source")}
    if changed:
        raise PlanChangedError(changed)


def _differences(old: Json, new: Json, prefix: str = "") -> list[tuple[str, tuple[object, object]]]:
    """Leaves that differ, named by their path."""
    found: list[tuple[str, tuple[object, object]]] = []
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append((prefix + name, (a, b)))
    return found


def start_over(output: Place) -> None:
    """Remove what an older run left beside the output; the output itself stays until it is replaced."""
    journal = journal_path(output)
    try:
        if isinstance(journal, Address):
            asking().remove(journal)
        else:
            journal.unlink(missing_ok=True)
        discard_unfinished(output)
        remove_stage(output)
    except StoreError:
        raise
    except OSError as error:
        raise SinkError(f"cannot remove what an older run left of {output}: {error.strerror or error}") from error


def begin_journal(output: Place, header: Json) -> Journal:
    try:
        return Journal.create(journal_path(output), header)
    except StoreError:
        raise
    except OSError as error:
        raise JournalError(f"cannot write the journal of {output}: {error.strerror or error}") from error
