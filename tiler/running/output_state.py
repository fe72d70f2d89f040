"""Checks before a run starts or resumes: existing outputs, the choice of the user, and changed plans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tiler.errors import PlanChangedError, SinkError
from tiler.options import Options
from tiler.planning.plan import Plan
from tiler.planning.resolve import as_loaded
from tiler.ports import Json, Source
from tiler.running.output import Output, State
from tiler.stores.address import is_address, place_of
from tiler.stores.claims import living
from tiler.stores.label_places import is_label
from tiler.stores.notes import notes_at


@dataclass(frozen=True, slots=True)
class Intent:
    """The user's choice for an existing output."""

    resume: bool = False
    overwrite: bool = False
    verify: bool = False
    same_input: bool = False


def refuse_own_input(source: object, output: Output) -> None:
    """Refuse to replace the input, or to write into it.

    Raises
    ------
    SinkError
        If the output is the input, holds it, or lies inside an input that is a zarr, unless as one of its labels.
    """
    if not (isinstance(source, (str, Path)) or is_address(source)) or is_address(source) != is_address(output.place):
        return
    given, wanted = place_of(source).resolve(), output.place.resolve()  # type: ignore[arg-type]  # one of these
    if given == wanted:
        raise SinkError(f"{output} is the input: choose another output", option="output")
    if wanted in given.parents:
        raise SinkError(f"{output} holds the input {source}: choose another output", option="output")
    if not is_label(output.place) and any(folder == given and folder.suffix == ".zarr" for folder in wanted.parents):
        raise SinkError(f"{output} lies inside the input {source}: choose another output", option="output")


def check_intent(output: Output, intent: Intent) -> None:
    """Refuse to change an existing output unless the user chose to resume or overwrite it.

    Raises
    ------
    SinkError
        If the output exists and neither ``resume`` nor ``overwrite`` is set, or it cannot be resumed.
    """
    if intent.resume and intent.overwrite:
        raise SinkError("give `resume=True` or `overwrite=True`, not both")
    if intent.overwrite:
        output.check_replaceable()
        return
    state = output.state
    if state is State.FOREIGN and intent.resume:
        raise SinkError(f"{output} exists and has no journal, so it cannot be resumed: `overwrite=True` replaces it")
    if state in (State.FOREIGN, State.FINISHED) and not intent.resume:
        raise SinkError(f"{output} exists: `overwrite=True` replaces it, `output` chooses another name")
    if state is State.UNFINISHED and not intent.resume:
        ways = "`resume=True` goes on with it, `overwrite=True` starts anew" if output.has_journal else \
            "its journal is gone, so only `overwrite=True`, which starts anew, is left"
        raise SinkError(f"{output} has an unfinished run: {ways}")


def check_side_files(options: Options, intent: Intent, stored: Json | None = None) -> None:
    """Refuse to replace a table or outlines, or to resume a run with others.

    Parameters
    ----------
    options
        Options as they were given.
    intent
        What may happen to files that exist.
    stored
        Options of the run to resume.

    Raises
    ------
    SinkError
        The message says what to change.
    """
    for name in ("table", "outlines"):
        path: Path | None = options.get(name)
        if path is None:
            continue
        if stored is None and not intent.overwrite and path.exists():
            raise SinkError(f"{path} exists: `overwrite=True` replaces it, or choose another name", option=name)
        if stored is not None and str(path) != stored.get(name):
            advice = "; tiler measure makes a table of a finished output" if name == "table" else ""
            raise SinkError(f"the run to resume writes {stored.get(name, f'no {name}')}, not {path}: leave out "
                            f"`{name}`{advice}")
    scratch = options.get("scratch")
    if stored is not None and scratch is not None and str(scratch) != str(stored.get("scratch")):
        raise SinkError(f"the run to resume has its stored tensors {stored.get('scratch') or 'beside the output'}, not "
                        f"in {scratch}: leave out `scratch`")


def check_not_shared(output: Output, intent: Intent) -> None:
    """Refuse to go on alone with a run that several processes share, or to replace it while they are alive.

    Raises
    ------
    SinkError
        If so.
    """
    runs = notes_at(output.parts_place).names("")
    alive = [holder for run in runs for holder in living(notes_at(output.parts_place / run))]
    if alive:
        raise SinkError(f"{output} is being written by {len(alive)} processes ({alive[0].name}: process "
                        f"{alive[0].process} on {alive[0].host}): wait for them, or stop them first")
    if runs and not intent.overwrite and output.state is State.UNFINISHED:
        raise SinkError(f"{output} was begun by several processes: the same command with `part` or `claim` goes on, "
                        "tiler finish puts together what is whole, `overwrite=True` starts anew")


def check_same(stored: Json, now: Json, same_input: bool) -> None:
    """Compare the fields of ``now`` that can change the result with the stored ones.

    Parameters
    ----------
    stored, now
        Essence of the plan of the run, and all or some of it now.
    same_input
        Whether files of the input and of the mask may have other paths and dates.

    Raises
    ------
    PlanChangedError
        The message names the fields that differ.
    SinkError
        If the mask is an array in memory, which cannot be compared.
    """
    changed = dict(_differences({name: stored.get(name) for name in now}, as_loaded(now)))
    if same_input:
        changed = {name: pair for name, pair in changed.items()
                   if not name.startswith("source") and not f"{name}.".startswith("part.mask.")}
    if changed:
        raise PlanChangedError(changed)
    if not same_input and "mask" in (part := now.get("part") or {}) and part["mask"] is None:
        raise SinkError("the mask is an array in memory, which cannot be compared with that of the first run: give "
                        "masks as files, or say that it is the same with `same_input=True`")


def check_known(plan: Plan, source: Source, same_input: bool) -> None:
    """Refuse to resume a run over an input that cannot be told from another, such as an array in memory.

    Raises
    ------
    SinkError
        If the input has no identity, and sampled blocks are not to be compared.
    """
    if plan.essence["source"] is None and source.identity is None and not same_input:
        raise SinkError(f"{source.name} has no path or date by which it could be told from another input, so that it "
                        "cannot be resumed as it is: `same_input=True` compares sampled blocks, `overwrite=True` "
                        "starts anew")


def _differences(old: Json, new: Json, prefix: str = "") -> list[tuple[str, tuple[object, object]]]:
    """Leaf values that differ, named by their path."""
    found: list[tuple[str, tuple[object, object]]] = []
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append((prefix + name, (a, b)))
    return found
