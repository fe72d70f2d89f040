"""`tiler status` and `tiler finish`."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from typing import Any

import click

from tiler import api
from tiler.cli import completion
from tiler.cli.logs import printable, set_up_logging
from tiler.cli.options import json_option
from tiler.cli.talk import listening, stoppable
from tiler.running.bars import spoken
from tiler.running.parts.status import ProcessStatus, StageStatus, Status


@click.command()
@click.argument("outputs", nargs=-1, required=True, metavar="OUTPUT...", type=click.Path())
@json_option("output, finished, stage, stages, processes, missing, voxels_per_second, seconds_left")
def status(outputs: tuple[str, ...], as_json: bool) -> int:
    """Show how far the runs of OUTPUTs are, also while they run.

    It reads their journals alone. Exit code 0 says that all of them are finished, 1 that one is not.
    """
    found = [api.status(output) for output in outputs]
    for each in found:
        click.echo(json.dumps(each.to_json()) if as_json else "\n".join(map(printable, _lines(each))))
    return 0 if all(each.finished for each in found) else 1


@click.command()
@click.argument("output", type=click.Path())
@click.option("--source", metavar="INPUT", shell_complete=completion.files,
              help="Where the input is now, if it was moved.")
@click.option("--model", metavar="MODEL", shell_complete=completion.models,
              help="Where the model is now, if it was moved.")
@click.option("--trust", is_flag=True, help="Run code that a model file brings along.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@json_option("output, seconds")
def finish(output: str, quiet: bool, as_json: bool, **settings: Any) -> int:
    """Finish an OUTPUT that was written in parts, if the last part did not.

    Checks that all blocks are there, makes what comes after the network (numbers of objects, levels, metadata) and
    gives the output its name. Blocks that are missing are said with their parts.
    """
    set_up_logging(verbose=False, log_file=None)
    stop, begun = threading.Event(), time.perf_counter()
    with stoppable(stop), listening(quiet) as listener:
        api.finish(output, listener=listener, stop=stop, **settings)
    seconds = round(time.perf_counter() - begun, 3)
    click.echo(json.dumps({"output": output, "seconds": seconds}) if as_json else printable(output))
    return 0


def _lines(found: Status) -> list[str]:
    state = "finished" if found.finished else "all blocks are done, not finished" if found.stage == "finish" else \
        _present(found)
    lines = [f"{found.output}: {state}"]
    lines += [_stage(stage) for stage in found.stages if stage.done or stage.failed]
    if not found.finished:
        lines += [_process(process) for process in found.processes]
        if found.missing:
            lines.append(f"  not begun: {', '.join(map(str, found.missing))}")
    return lines


def _present(found: Status) -> str:
    number = [stage.name for stage in found.stages].index(found.stage)
    stage, many = found.stages[number], len(found.stages)
    where = f"stage {number + 1} of {many}, {stage.name}" if many > 1 else stage.name
    alive = sum(process.alive for process in found.processes)
    rate = f", {spoken(found.voxels_per_second)}voxels/s" if found.voxels_per_second and alive else ""
    left = f", {timedelta(seconds=round(found.seconds_left))} left" if found.seconds_left is not None and alive else ""
    return f"{where}: {stage.done} of {stage.blocks} blocks{rate}{left}, {alive} of {len(found.processes)} alive"


def _stage(stage: StageStatus) -> str:
    failed = f", {stage.failed} failed" if stage.failed else ""
    return (f"  {stage.name}: {stage.done} of {stage.blocks} blocks{failed}; seconds read {stage.read:.1f}, computed "
            f"{stage.compute:.1f}, wrote {stage.write:.1f}")


def _process(process: ProcessStatus) -> str:
    where = f"process {process.process} on {process.host}"
    silent = "" if process.silent is None else f", the last {process.silent:.0f} s ago"
    return (f"  {process.name or 'one process'}: {'alive' if process.alive else 'not running'}, {process.blocks} "
            f"blocks{silent} ({where})")
