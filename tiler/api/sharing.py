"""Runs that several processes share: what they have done, and their end."""

from __future__ import annotations

import threading

from tiler.api.types import Model, Output, Volume
from tiler.ports import Listener
from tiler.running.bars import heard_by
from tiler.running.output import output_of
from tiler.running.parts.start import finish_shared
from tiler.running.parts.status import Status, status_of
from tiler.stores.address import Place


def status(output: Output) -> Status:
    """How far a run is, from its journals alone; also while it runs, on any machine.

    Parameters
    ----------
    output
        Written by `segment`, finished or not.

    Returns
    -------
    tiler.running.parts.status.Status
        Blocks that are done, rate, time left, and the processes that are alive.

    Raises
    ------
    JournalError
        If there is no journal, or it is damaged.
    """
    return status_of(output_of(output))


def finish(output: Output, *, source: Volume | None = None, model: Model | None = None, trust: bool = False,
           progress: bool = False, listener: Listener | None = None, stop: threading.Event | None = None) -> Place:
    """Finish an output whose blocks are all there, written by processes that shared a run.

    Makes what comes after the network: numbers of objects, levels, metadata and the final name. The last process of a
    run does so by itself; this is for runs of which that one was lost.

    Parameters
    ----------
    output
        Written by `segment` with ``part`` or ``claim``.
    source, model
        Their present places; by default those of the run.
    trust, progress, listener, stop
        As for `segment`.

    Raises
    ------
    SinkError
        If blocks are missing; the message says which parts have them.
    """
    wanted = output_of(output)
    with heard_by(listener, progress) as hearing:
        finish_shared(wanted, hearing, stop or threading.Event(), source=source, model=model, trust=trust)
    return wanted.place
