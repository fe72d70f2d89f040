"""Plans as tables on the command line."""

from __future__ import annotations

from pathlib import Path

import click

from tiler.cli.logs import printable, spelled_text
from tiler.machine import free_disk
from tiler.planning.plan import Plan
from tiler.planning.summary import as_text, hints_of, rows_of, sentence_of, size
from tiler.stores.address import Place


def plan_table(source: str, output: Place, plan: Plan) -> None:
    """Print a plan; unlike progress this is the result, so it goes to stdout."""
    rows = {"input": source, "output": str(output), **rows_of(plan)}
    free = room_for(output)
    if free is not None:
        rows["free disk space"] = size(free)
    hints = [f"hint: {spelled_text(hint)}" for hint in hints_of(plan)]
    click.echo(printable("\n".join([sentence_of(plan), as_text(rows), *hints])))


def room_for(output: Place) -> int | None:
    """Bytes that are free where an output goes; None on an object store."""
    return free_disk(output) if isinstance(output, Path) else None
