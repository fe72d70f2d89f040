"""Begin, join or finish a run that several processes share."""

from __future__ import annotations

import threading
import uuid
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tiler.errors import JournalError, PlanChangedError, SinkError
from tiler.opening import Opened
from tiler.options import FREE, Options
from tiler.options.table import plain
from tiler.planning.plan import Plan
from tiler.planning.resolve import as_loaded
from tiler.ports import Json, Listener, TimedListener
from tiler.running.journal import Journal, Tail, parts_place
from tiler.running.output import Output, State
from tiler.running.output_state import Intent, check_intent, check_side_files, refuse_own_input
from tiler.running.parts.member import Member, take_part
from tiler.running.parts.shared_record import SharedRecord
from tiler.running.perform import perform_with
from tiler.running.progress import whereabouts
from tiler.running.stages import stages_of
from tiler.running.start import (
    Request,
    attributes_of,
    check_finished_blocks,
    check_room,
    executor_of,
    header_of,
    opened_for,
    reopened,
    run_spec,
)
from tiler.sinks import is_unfinished, is_whole
from tiler.stores.claims import Claims
from tiler.stores.notes import notes_at


@dataclass(frozen=True, slots=True)
class Joined:
    """A shared run as one of its processes sees it: the first line of its journal, its ports and its plan."""

    header: Json
    opened: Opened
    plan: Plan


def is_shared(options: Options) -> bool:
    """Whether several processes are to share the run."""
    return bool(options.get("part") or options.get("claim"))


def run_shared(request: Request, output: Output, listener: Listener, stop: threading.Event) -> None:
    """Do the part of this process; whoever does the last block finishes the output.

    Raises
    ------
    TilerError
        In one line; the same command goes on.
    """
    if request.intent.overwrite:
        raise SinkError("a part cannot replace an output, since it would remove what the others wrote: remove it "
                        "first, or choose another output", option="overwrite")
    if request.intent.verify and request.options.get("claim"):
        raise SinkError("`verify` reads the blocks of a part again, `claim` has no parts: leave out one of them")
    refuse_own_input(request.source, output)
    joined = _joined(request, output, listener)
    if output.state is State.FINISHED:
        listener.stage("finished")
        return
    _take_work(joined, request, output, listener, stop)


def finish_shared(output: Output, listener: Listener, stop: threading.Event, *, source: Any = None, model: Any = None,
                  trust: bool = False) -> None:
    """Do what is left when all blocks of the network are there: numbers of objects, levels, metadata and name.

    Parameters
    ----------
    source, model
        Where they are now; by default where they were.

    Raises
    ------
    SinkError
        If blocks are missing, or the run was not shared.
    """
    if output.state is State.FINISHED:
        listener.stage("finished")
        return
    header = _header(output)
    request = Request(header["source"] if source is None else source, header["model"] if model is None else model,
                      Options(), Intent(resume=True, same_input=source is not None), trust)
    _take_work(Joined(header, *reopened(request, header)), request, output, listener, stop)


def _header(output: Output) -> Json:
    """The first line of the journal of a shared run."""
    if not output.has_journal:
        raise SinkError(f"there is no journal of {output}: nothing was begun there")
    header = Tail(output.journal_place).header
    if header is None:
        raise JournalError(f"the journal of {output} is empty: start anew with `overwrite=True` and without parts")
    if "shared" not in header:
        raise SinkError(f"{output} was begun by one process: `resume=True` goes on with it, without `part` or `claim`")
    return header


def _joined(request: Request, output: Output, listener: Listener) -> Joined:
    """The run, begun here unless another process has begun it."""
    begun, identity = None, uuid.uuid4().hex[:8]
    if not output.has_journal:
        check_intent(output, Intent())
        check_side_files(request.options, Intent())
        opened, plan, room = opened_for(request, output)
        check_room(room, output, listener)
        begun = Joined({**header_of(request, opened, plan, output), "shared": {
            "id": identity, "parts": _parts(request.options), "given": _given(request.options)}}, opened, plan)
        _warn_if_few(begun, listener)
        _establish(output, begun.header)
    header = _header(output)
    _check_agreed(header["shared"], request.options, output)
    if begun is not None and header["shared"]["id"] == identity:
        return Joined(header, begun.opened, begun.plan)
    return Joined(header, *reopened(request, header))


def _establish(output: Output, header: Json) -> None:
    try:
        Journal.establish(output.journal_place, header)
    except FileExistsError:
        raise SinkError(f"cannot write {output}: its folder is a file", option="output") from None
    except OSError as error:
        if isinstance(error, SinkError):
            raise
        raise SinkError(f"cannot write {output}: {error.strerror or error}", option="output") from error


def _parts(options: Options) -> int | None:
    share = options.get("part")
    return None if share is None else share.of


def _given(options: Options) -> Json:
    """The options that can change the result, as they were given: the same for all processes of a run."""
    given: Json = as_loaded({name: plain(value) for name, value in options.given().items() if name not in FREE})
    return given


def _warn_if_few(begun: Joined, listener: Listener) -> None:
    blocks, parts = len(begun.plan.grid), begun.header["shared"]["parts"]
    if parts is not None and blocks < parts:
        listener.warn(f"{parts} parts share {blocks} blocks, so that some have nothing to do: choose a smaller `block`")


def _check_agreed(shared: Json, options: Options, output: Output) -> None:
    """Refuse a process that was started otherwise than the first one.

    Raises
    ------
    SinkError
        If the number of parts differs.
    PlanChangedError
        If options differ.
    """
    parts = _parts(options)
    if shared["parts"] != parts:
        begun = "by processes that claim blocks" if shared["parts"] is None else f"in {shared['parts']} parts"
        given = "`claim`" if parts is None else f"`part={options.get('part')}`"
        raise SinkError(f"{output} was begun {begun}; got {given}: give the same to all processes")
    now = _given(options)
    changed = {name: (shared["given"].get(name, "not given"), now.get(name, "not given"))
               for name in sorted({*shared["given"], *now}) if shared["given"].get(name) != now.get(name)}
    if changed:
        raise PlanChangedError(changed)


def _take_work(joined: Joined, request: Request, output: Output, listener: Listener, stop: threading.Event) -> None:
    share, header = request.options.get("part"), joined.header
    notes = notes_at(parts_place(output.journal_place, header))
    name = f"part {share}" if share else "claims" if request.options.get("claim") else "finish"

    def tell(text: str) -> None:
        (listener.note if isinstance(listener, TimedListener) else listener.warn)(text)

    with Claims(notes, name) as claims:
        if share is not None:
            take_part(claims, share, tell, stop)
        with closing(_own_journal(joined, output, claims, request)) as own:
            record = SharedRecord(output.journal_place, header, own)
            if record.records("created") and not (is_unfinished(output.place) or is_whole(output.place)):
                raise JournalError(f"there is a journal of {output}, but the unfinished output is gone: start anew "
                                   "with `overwrite=True` and without parts")
            run = run_spec(joined.opened, joined.plan, output, attributes_of(header, joined.plan))
            if own.begun:
                check_finished_blocks(run, request.intent, own, listener)
            member = Member(record, claims, share, tell, stop, finishing=name == "finish")
            executor = executor_of(joined.plan, joined.opened)
            if perform_with(member, run, record, executor, listener, stop) is not None:
                claims.tidy(stage.name for stage in stages_of(run))


def _own_journal(joined: Joined, output: Output, claims: Claims, request: Request) -> Journal:
    """The journal of this process: that of its part, which goes on, or a new one."""
    share, me = request.options.get("part"), claims.me
    name = f"part-{share.number:0{len(str(share.of - 1))}d}" if share is not None else f"{me.name}-{me.host}-{me.id}"
    place = parts_place(output.journal_place, joined.header) / "journals" / name
    if share is not None and Tail(place).header is not None:
        own = Journal.reopen(place)
    else:
        own = Journal.create(place, {"name": me.name, "fingerprint": joined.plan.fingerprint})
    own.append("here", 0, {}, whereabouts())
    return own
