"""`tiler evaluate`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import click

from tiler import api
from tiler.cli.logs import spelled_text
from tiler.cli.options import GroupedCommand, option, together
from tiler.cli.talk import listening, stoppable
from tiler.errors import PlanError, SinkError
from tiler.evaluation.request import PROTOCOLS

STDOUT = "-"

WHAT = together(
    click.argument("volumes", type=click.Path(), nargs=-1, required=True, metavar="PROPOSAL... LABELS"),
    option("What", "--protocol", default="isbi2012", show_default=True, type=click.Choice(PROTOCOLS),
           help="What is scored: P(cell) by isbi2012, classes by semantic, ids of objects by the others."),
    option("What", "--slices", metavar="A:B", help="Slices A to B-1 of the larger stack."),
    option("What", "--roi", metavar="Z,Y,X", help="Region of the larger volume, such as 0:5,100:600,50:450."),
    option("What", "--mask", metavar="FILE", type=click.Path(),
           help="Leave out where this is 0 (isbi2012: from the warping error alone)."),
    option("What", "--axes", metavar="AXES", help="Names of the proposal's axes, such as tyx."),
    option("What", "--labels-axes", metavar="AXES", help="Names of the axes of the labels."),
    option("What", "--missing", default="refuse", show_default=True, type=click.Choice(["refuse", "zero"]),
           help="What to do with voxels that a file promises and does not hold: refuse them, or read zeros."),
    option("What", "--channel", metavar="N", type=int, help="Channel of the proposal to score."),
    option("What", "--ignore-label", metavar="N", type=int,
           help="Label of voxels that are not scored, such as 255 or -1 (all protocols but isbi2012)."),
)
ISBI = together(
    option("Protocol isbi2012", "--invert", is_flag=True, help="White is membrane in the proposal."),
    option("Protocol isbi2012", "--invert-labels", is_flag=True, help="White is membrane in the labels."),
    option("Protocol isbi2012", "--rescale", is_flag=True,
           help="Divide an integer proposal by the largest value of its type (uint8: 255)."),
)
SEMANTIC = together(
    option("Protocol semantic", "--classes", metavar="NAME,NAME", help="Names of the classes, from 0."),
    option("Protocol semantic", "--binary", is_flag=True, help="Everything above 0 is class 1."),
)
RESULT = together(
    option("Result", "--json", "json_file", metavar="[FILE]", is_flag=False, flag_value=STDOUT,
           help="Print all values as one JSON object instead of text; with FILE write them there."),
    option("Result", "--report", metavar="FILE", type=click.Path(), help="Write one HTML page to look at."),
    option("Result", "--image", metavar="FILE", type=click.Path(),
           help="What was segmented, shown in the report (isbi2012)."),
    option("Result", "--workers", default=1, show_default=True, type=click.IntRange(min=1),
           help="Threads."),
    option("Result", "--quiet", "-q", is_flag=True, help="No progress."),
)


@click.command(cls=GroupedCommand)
@WHAT
@ISBI
@SEMANTIC
@RESULT
def evaluate(volumes: tuple[str, ...], json_file: str | None, quiet: bool, classes: str | None,
             **options: Any) -> None:
    """Score a PROPOSAL against LABELS, volumes of any size in any format that tiler segment reads.

    White, which is above 0, is cell, unless the metadata of the proposal or an option says otherwise.
    The JSON holds protocol, proposal, labels, mask, region, notes, shape and what the protocol scores.
    Several proposals are scored side by side, by isbi2012 with paired differences between slices; their JSON is an
    array of such objects.
    """
    from tiler.evaluation.comparison import Comparison

    *proposals, labels = volumes
    if not proposals:
        raise click.UsageError("Missing argument 'LABELS'.")
    if len(proposals) > 1 and options["report"] is not None:
        raise PlanError("a report shows one proposal: score several without it", option="report")
    if json_file not in (None, STDOUT):
        from tiler.evaluation.scoring import check_writable

        check_writable(str(json_file), "json")
    names = classes.split(",") if classes else None
    stop = threading.Event()
    with stoppable(stop), listening(quiet) as listener:
        found = [api.evaluate(proposal, labels, listener=listener, stop=stop, classes=names, **options)
                 for proposal in proposals]
    scored = found[0] if len(found) == 1 else Comparison(tuple(found))
    if json_file == STDOUT:
        click.echo(scored.to_json())
        return
    if json_file is not None:
        _write(Path(json_file), scored.to_json(indent=2))
    click.echo(spelled_text(scored.table()))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error} (--json)") from error
