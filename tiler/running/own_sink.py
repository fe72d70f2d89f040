"""Write a result to a sink of the user."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from tiler.errors import AlignmentError, SinkError
from tiler.opening import Opened
from tiler.options import AUTO, OF_PROCESS, OF_STORAGE
from tiler.planning.plan import Plan
from tiler.planning.tile_choice import spell
from tiler.ports import Listener, OutputSpec, Sink
from tiler.running.destination import InMemory
from tiler.running.output_state import Intent, check_side_files
from tiler.running.perform import discard_scratch, perform
from tiler.running.progress import Memo
from tiler.running.start import Request, executor_of, open_request, run_spec


@dataclass(frozen=True, slots=True)
class IntoSink(InMemory):
    """A `tiler.running.output.Destination` made of one sink; labels stay in memory until objects are numbered."""

    own: Sink

    def sink(self, spec: OutputSpec) -> Sink:
        return self.own


def run_to_sink(request: Request, sink: Sink, listener: Listener, stop: threading.Event) -> Sink:
    """Write the result to a sink of the user. There is no journal, so the run cannot be resumed.

    Raises
    ------
    TilerError
        In one line.
    """
    if request.intent != Intent():
        raise SinkError("a sink has no journal: `resume`, `overwrite`, `verify` and `same_input` are for paths")
    request.options.refuse(OF_STORAGE, "a sink of your own decides how it stores voxels")
    request.options.refuse(OF_PROCESS, "processes cannot share a sink of your own, give a path")
    check_side_files(request.options, request.intent)
    opened = open_request(request)
    plan = _aligned(opened, opened.plan(), sink)
    run = run_spec(opened, plan, IntoSink(sink))
    try:
        return perform(run, Memo(), executor_of(plan, opened), listener, stop)
    finally:
        discard_scratch(run)


def _aligned(opened: Opened, plan: Plan, sink: Sink) -> Plan:
    """The same plan with blocks of whole write units of a sink.

    Raises
    ------
    AlignmentError
        If the user chose other blocks.
    """
    sides = zip(plan.block, sink.write_unit, plan.region.shape, strict=True)
    block = tuple(side if side >= size else -(-side // unit) * unit for side, unit, size in sides)
    if block == plan.block:
        return plan
    if opened.options.block is not AUTO:
        raise AlignmentError(f"blocks of {spell(plan.block)} are not whole write units of {sink.name}, which are "
                             f"{spell(sink.write_unit)}", option="block")
    return replace(opened, options=replace(opened.options, tile=plan.tile, block=block)).plan()
