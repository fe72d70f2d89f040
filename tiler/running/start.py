"""One segmentation from start to end: start or resume, perform, and keep the journal."""

from __future__ import annotations

import platform
import threading
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tiler.errors import Interrupted, JournalError, PlanChangedError, PlanError, SinkError, TilerError
from tiler.executors import open_executor
from tiler.objects.asked import threshold_of
from tiler.opening import Opened, describe_model, describe_source, kind_of, open_all
from tiler.options import AUTO, FREE, OF_PROCESS, OF_STORAGE, Options
from tiler.planning.plan import Plan
from tiler.planning.resolve import essence_of
from tiler.planning.tile_choice import MB
from tiler.ports import KINDS, Array, Executor, Json, Listener, Room
from tiler.running.destination import Destination, InMemory
from tiler.running.journal import Journal
from tiler.running.output import Output, State
from tiler.running.output_state import (
    Intent,
    check_intent,
    check_known,
    check_not_shared,
    check_same,
    check_side_files,
    refuse_own_input,
)
from tiler.running.perform import agrees_with, discard_scratch, forget_unsound, perform
from tiler.running.post_stages import Posted
from tiler.running.progress import Memo, whereabouts
from tiler.running.results import result_of
from tiler.running.run_spec import RunSpec, room_of
from tiler.running.scratch_folder import discard_old_scratch, folder_of, room_with
from tiler.running.stages import stages_of
from tiler.running.tensor_stages import forget_lost
from tiler.sinks import check_output, check_shared, ngff_of
from tiler.version import __version__


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of one call of `tiler.segment`."""

    source: Any
    model: Any
    options: Options
    intent: Intent
    trust: bool


def run_in_memory(request: Request, listener: Listener, stop: threading.Event) -> Array:
    """The result as an array with the input's axes.

    Raises
    ------
    TilerError
        In one line.
    """
    opened, plan = opened_in_memory(request)
    check_side_files(request.options, request.intent)
    run = run_spec(opened, plan, InMemory())
    try:
        sink = perform(run, Memo(), executor_of(plan, opened), listener, stop)
    finally:
        discard_scratch(run)
    return np.asarray(sink.array)  # type: ignore[attr-defined]  # only the sink in memory has it


def opened_in_memory(request: Request) -> tuple[Opened, Plan]:
    """Ports and plan of a result in memory; every possible refusal happens here, before a voxel is read."""
    if request.options.get("executor") == "dask":
        raise SinkError("an array in memory cannot be written by other processes: give `output`, or use "
                        "`executor=threads`")
    request.options.refuse(OF_STORAGE, "an array in memory has no files")
    request.options.refuse(OF_PROCESS, "processes cannot share an array in memory, give `output`")
    opened = open_request(request)
    return opened, opened.plan()


def opened_for(request: Request, output: Output) -> tuple[Opened, Plan, Room]:
    """Ports, plan and disk space of a result on disk; every possible refusal happens here, before a voxel is read."""
    _check_place(request, output)
    shared = request.options.get("part") or request.options.get("claim")
    if shared:
        check_shared(output.place)
    opened = open_request(replace(request, options=_fitted(request.options, request.model, output)))
    plan = opened.plan()
    if shared and plan.out_of_core:
        raise PlanError("this plan stores tensors on disk, which processes that share a run cannot: give each of them "
                        "more memory, or leave out `part` and `claim`", option="memory")
    run = run_spec(opened, plan, output)
    room = room_with(room_of(stages_of(run)), plan, run.scratch, output)
    return opened, plan.with_room(room), room


def _check_place(request: Request, output: Output) -> None:
    refuse_own_input(request.source, output)
    check_output(output.place, [name for name in request.options.given() if name in OF_STORAGE])


def _fitted(options: Options, model: Any, output: Output) -> Options:
    """Options adapted to an output: a label image takes the OME-NGFF version of its image."""
    version = ngff_of(output.place, options.get("ngff"), kind_of(options, model))
    return Options.of({**options.given(), "ngff": version})


def run_to_file(request: Request, output: Output, listener: Listener, stop: threading.Event) -> None:
    """Write the result, or continue an unfinished one.

    Raises
    ------
    TilerError
        In one line; an unfinished run stays resumable.
    """
    _check_place(request, output)
    check_not_shared(output, request.intent)
    check_intent(output, request.intent)
    if request.intent.resume and output.state is not State.NOTHING:
        _go_on(request, output, listener, stop)
    else:
        _begin(request, output, listener, stop)


def _begin(request: Request, output: Output, listener: Listener, stop: threading.Event) -> None:
    check_side_files(request.options, request.intent)
    opened, plan, room = opened_for(request, output)
    check_room(room, output, listener)
    with output.lock():
        _discard(opened, plan, output, journal=False)
        header = header_of(request, opened, plan, output)
        with closing(output.begin_journal(header)) as journal:
            try:
                _perform(opened, plan, output, journal, listener, stop)
            except TilerError as error:
                if journal.begun:
                    raise
                _discard(opened, plan, output)  # there is nothing to resume
                if isinstance(error, Interrupted):
                    raise Interrupted("stopped before the first block: nothing is kept; the same command starts "
                                      "again") from error
                raise


def _discard(opened: Opened, plan: Plan, output: Output, *, journal: bool = True) -> None:
    """Remove what a run left, stored tensors included, wherever they lie; its journal unless a new one replaces it."""
    if output.has_journal:
        with suppress(JournalError):  # one that is damaged does not tell where they lie
            discard_old_scratch(output)
    output.discard(journal=journal)
    discard_scratch(run_spec(opened, plan, output))


def check_room(room: Room, output: Output, listener: Listener) -> None:
    """Refuse an output that exceeds the free disk space; warn only if compression may make it fit.

    Files of an older run count as free space, because they are removed after this check and before any writing.

    Raises
    ------
    SinkError
        If the output is not compressed and larger than the free space.
    """
    free, needed = output.free, room.output + room.temporary
    if free is None:
        return
    if room.reserved and room.output > free:
        raise SinkError(f"{output} takes {room.output // MB + 1} MB, {free // MB} MB are free: choose another disk or "
                        "a compressed format, .zarr, .ome.tif or .h5 (`output`), or a region", option="roi")
    if needed > free:
        listener.warn(f"{output} takes up to {needed // MB + 1} MB while it is made, depending on how well it can be "
                      f"compressed; {free // MB} MB are free")


def _go_on(request: Request, output: Output, listener: Listener, stop: threading.Event) -> None:
    """Load the stored plan, without repeating any choice."""
    with output.lock(), closing(output.resume_journal()) as journal:
        opened, plan = reopened(request, journal.header)
        if output.state is State.FINISHED:
            output.discard_stage()
            discard_scratch(run_spec(opened, plan, output))
            listener.stage("finished")
            return
        if journal.records("created"):
            journal.append("created", 0, {}, whereabouts())
        check_finished_blocks(run_spec(opened, plan, output), request.intent, journal, listener)
        _perform(opened, plan, output, journal, listener, stop)


def reopened(request: Request, header: Json) -> tuple[Opened, Plan]:
    """The ports and the plan of a run that goes on, with its stored choices.

    Raises
    ------
    PlanChangedError
        If anything that can change the result is not as it was.
    """
    intent, wanted = request.intent, request.options
    plan = Plan.from_json(header["plan"])
    check_side_files(wanted, intent, header["options"])
    stored = {name: value for name, value in header["options"].items() if name not in FREE}
    opened = open_request(request, {**stored, **_chosen_by(plan)})
    # The ports first: with another model the stored tile may not even be legal.
    check_same(plan.essence, essence_of(opened.source, opened.predictor), intent.same_input)
    check_same(plan.essence, opened.plan().essence, intent.same_input)
    check_known(plan, opened.source, intent.same_input)
    return opened, plan.with_resources(None if wanted.get("batch") is AUTO else wanted.get("batch"),
                                       wanted.get("workers"))


def _chosen_by(plan: Plan) -> Json:
    """Options that repeat the choices of a stored plan."""
    chosen: dict[str, Any] = {"border": plan.border, "tune": False}
    return {**chosen, "execution": "stages"} if plan.staged else {**chosen, "block": plan.block, "tile": plan.tile}


def check_finished_blocks(run: RunSpec, intent: Intent, journal: Journal, listener: Listener) -> None:
    """Compare the input with sampled blocks if it was moved, and withdraw the records of damaged blocks."""
    stages = stages_of(run)
    if intent.same_input and not agrees_with(stages, journal):
        name = "source" if run.part is None else "source or mask"
        raise PlanChangedError({name: ("what the finished blocks were computed from", "something else")})
    bad = forget_unsound(stages, journal, every=intent.verify) + forget_lost(stages, journal, every=intent.verify)
    if bad:
        listener.warn(f"{bad} finished blocks were damaged and will be computed again")
    elif intent.verify:
        listener.warn("all finished blocks are sound")


def _perform(opened: Opened, plan: Plan, output: Output, journal: Journal, listener: Listener,
             stop: threading.Event) -> None:
    run = run_spec(opened, plan, output, attributes_of(journal.header, plan))
    perform(run, journal, executor_of(plan, opened), listener, stop)


def open_request(request: Request, stored: Json | None = None) -> Opened:
    """The ports of a request."""
    return open_all(request.source, request.model, request.options, request.trust, stored)


def run_spec(opened: Opened, plan: Plan, output: Destination, attributes: Json | None = None) -> RunSpec:
    """The specification of a run of this plan."""
    result = result_of(opened.kind, threshold_of(opened.options, opened.predictor))
    return RunSpec(plan, opened.source, opened.predictor, output,
                   result if opened.step is None else Posted(result, opened.step), opened.statistics,
                   opened.rules, opened.part, opened.instance_dtype, opened.options.table,
                   opened.options.outlines, opened.options.storage, attributes or {},
                   folder_of(plan, output, opened.options.scratch), opened.options.retries, opened.step,
                   opened.options.post_check == "accept")


def executor_of(plan: Plan, opened: Opened) -> Executor:
    """The executor for the blocks of a plan."""
    return open_executor(opened.options.executor, plan.workers, opened.options.scheduler)


def header_of(request: Request, opened: Opened, plan: Plan, output: Output) -> Json:
    """First line of the journal: all that it takes to go on with a run, and what its stages are."""
    stages = stages_of(run_spec(opened, plan, output))
    return {
        "plan": plan.to_json(),
        "stages": list({stage.name: [stage.name, len(stage.grid)] for stage in stages}.values()),
        "source": describe_source(request.source),
        "model": describe_model(request.model),
        "kind": opened.kind,
        "classes": list(_class_names(opened)),
        "options": {**opened.to_json(), "device": _chosen(opened, "device"),
                    "backend": _chosen(opened, "backend")},
        "versions": {"tiler": __version__, "python": platform.python_version(), "numpy": np.__version__},
    }


def attributes_of(header: Json, plan: Plan) -> Json:
    """Provenance that the output carries; it is the same however many processes made it."""
    kept = {name: value for name, value in header.items() if name not in ("stages", "shared")}
    return {**kept, "plan": plan.provenance()}


def _class_names(opened: Opened) -> tuple[str, ...]:
    """Names of the channels, or of the values if labels are written."""
    predictor = opened.predictor
    channels = KINDS[opened.kind].classes == "channels"
    return predictor.classes if channels else predictor.identity.get("names", predictor.classes)


def _chosen(opened: Opened, name: str) -> str | None:
    """Kind of the chosen device or backend, without name or version, for a resumed run."""
    value = opened.predictor.identity.get(name)
    return str(value).split()[0] if value else None
