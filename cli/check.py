"""`tiler check`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from tiler import api
from tiler.checking.verify import CheckReport
from tiler.cli import completion
from tiler.cli.options import json_option
from tiler.cli.waiting import waiting
from tiler.planning.summary import by


@click.command()
@click.argument("output", type=click.Path())
@click.option("--source", metavar="INPUT", shell_complete=completion.files,
              help="Where the input is now, if it was moved.")
@click.option("--model", metavar="MODEL", shell_complete=completion.models,
              help="Where the model is now, if it was moved.")
@click.option("--mask", metavar="FILE", shell_complete=completion.files,
              help="Where the mask is now, if it was moved.")
@click.option("--windows", default=8, show_default=True, type=click.IntRange(min=0),
              help="How many windows to compute again.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Which windows.")
@click.option("--trust", is_flag=True, help="Run code that a model file brings along (TorchScript).")
@json_option("sound, blocks, recorded, damaged, faults, shape, low, high, not_finite, windows, share, tile, "
             "other_tile, worst, allowed, wrong")
def check(output: str, as_json: bool, **settings: Any) -> int:
    """Verify an OUTPUT of tiler segment.

    Reads every block and compares its checksum with the journal, compares coarser levels with level 0 and metadata
    with what was written, then computes windows at the seams of tiles again with tiles of another size. Exit code 0
    says that all of it is sound.
    """
    with waiting():
        report = api.check(output, **settings)
    if as_json:
        click.echo(json.dumps({**asdict(report), "sound": report.sound}))
    else:
        click.echo("\n".join(_lines(report)))
    return 0 if report.sound else 1


def _lines(report: CheckReport) -> list[str]:
    lines = [f"blocks: {report.recorded - len(report.damaged)} of {report.blocks} are finished and sound"]
    lines += [f"  damaged: {where}" for where in report.damaged]
    lines += [f"  damaged: {fault}" for fault in report.faults]
    lines.append(f"voxels: {by(report.shape)}, {_values(report)}")
    if report.windows:
        verdict = "larger than" if report.wrong else "within"
        same = report.other_tile == report.tile
        how = f"tile {by(report.tile)}" if same else f"tile {by(report.other_tile)} instead of {by(report.tile)}"
        lines.append(f"windows: {report.windows} computed again with {how}, {report.share:.2%} of the voxels: largest "
                     f"difference {report.worst:.2g}, {verdict} the {report.allowed:.2g} allowed")
        if report.seams is not None:
            lines.append(f"blended, an approximation: {report.seams}")
        lines += [f"  wrong: {where}" for where in report.wrong]
    elif report.damaged:
        lines.append("windows: none computed again, since blocks are damaged")
    return [*lines, _verdict(report)]


def _values(report: CheckReport) -> str:
    others = f", {report.not_finite} not finite" if report.not_finite else ", all finite"
    return f"values from {report.low:.4g} to {report.high:.4g}{others}"


def _verdict(report: CheckReport) -> str:
    if report.damaged or report.faults or report.wrong:
        return "NOT sound: run tiler segment again with --overwrite"
    return "sound" if report.sound else "unfinished: tiler segment with --resume goes on"
