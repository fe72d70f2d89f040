"""`tiler segment`, `tiler plan` and `tiler config`."""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from typing import Any

import click

from tiler import api
from tiler.cli import completion
from tiler.cli.batch import SUFFIXES, Pair, named_for_each, pair_up
from tiler.cli.config import as_toml, checked, read_config
from tiler.cli.logs import printable, set_up_logging, spelled, tell, unexpected
from tiler.cli.options import INPUT, MODEL, RESOURCES, RESULT, TALK, GroupedCommand, option, together
from tiler.cli.outcomes import Outcome, Turn, conclude
from tiler.cli.table import plan_table, room_for
from tiler.cli.talk import heard_and_logged, listening, stoppable
from tiler.cli.waiting import waiting
from tiler.errors import Interrupted, TilerError
from tiler.options import OF_MODEL
from tiler.planning.summary import duration
from tiler.running.output import output_of
from tiler.version import __version__

log = logging.getLogger("tiler.cli")

OUTPUT = together(
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", shell_complete=completion.files),
    option("Result", "-o", "--output", metavar="OUTPUT|DIR", shell_complete=completion.files,
           brief="such as out.zarr, out.tif, s3://bucket/out.zarr or a folder",
           help=".zarr, .tif, .ome.tif, .h5, .npy, .mrc, .n5 or .precomputed, s3:// or gs:// zarr, "
                "IMAGE.zarr/labels/NAME (labels of an OME-Zarr image), a folder, or a name with {stem}, such as "
                "'out/{stem}_cells.tif'. "
                "[default: {stem}_segmented.zarr]"),
    option("Result", "--format", "suffix", type=click.Choice([suffix.lstrip(".") for suffix in SUFFIXES]),
           help="Format of outputs whose names are not given. [default: zarr]"),
    option("Result", "--config", metavar="FILE", is_eager=True, expose_value=False, callback=read_config,
           shell_complete=completion.files, help="Take what is not given here from FILE, as tiler config prints it."),
)
PREVIEW = "{stem}_preview.png"
"""Name of a preview that is not given one."""

GOING_ON = together(
    option("Result", "--resume", is_flag=True,
           brief="go on with an unfinished run", help="Go on with an unfinished run."),
    option("Result", "--overwrite", is_flag=True,
           brief="start anew and replace the output", help="Start anew and replace the output."),
    option("Result", "--verify", is_flag=True, help="With --resume: read the finished blocks again."),
    option("Result", "--same-input", is_flag=True,
           help="With --resume: accept a moved input or mask whose sampled blocks agree."),
    option("Messages", "--dry-run", is_flag=True, brief="only show the plan", help="Only show the plan."),
    option("Messages", "--preview", metavar="[FILE.png]", is_flag=False, flag_value=PREVIEW,
           brief="only segment a window, as a picture",
           help="Only segment a window in the middle, write image, probability and objects as a picture, and say how "
                f"long the whole would take. [default: {PREVIEW}]"),
)
PROGRESS = option("Messages", "--progress", type=click.Choice(["auto", "lines", "json"]), default="auto",
                  help="Progress on stderr: bars in a terminal and lines elsewhere, lines, or JSON lines (see the "
                       "documentation). [default: auto]")
FILES = ("table", "outlines")
INTENT = ("resume", "overwrite", "verify", "same_input")
TALKING = ("as_json", "quiet", "verbose", "log_file", "progress")


@click.command(cls=GroupedCommand)
@OUTPUT
@RESULT
@GOING_ON
@MODEL
@INPUT
@RESOURCES
@TALK
@PROGRESS
def segment(inputs: tuple[str, ...], output: str | None, suffix: str | None, dry_run: bool,
            preview: str | None, **options: Any) -> int:
    """Segment volumes: TIFF, zarr, .npy, or folders of images.

    Prints the path of each result. Several inputs are a batch job: the network is loaded once, and an input
    that fails does not stop the others.

    With --json one object a line, as inputs are finished: source, output, seconds, and objects, table and outlines
    where there are any; and finished, false, after a part (--part, --claim) of an output that others finish.
    """
    talking = {name: options.pop(name) for name in TALKING if name in options}
    set_up_logging(talking["verbose"], talking["log_file"], talking["progress"])
    if preview is not None and (dry_run or options["resume"]):
        raise click.UsageError("--preview goes neither with --dry-run nor with --resume")
    if (options["verify"] or options["same_input"]) and not options["resume"]:
        raise click.UsageError("--verify and --same-input belong to --resume")
    pairs = pair_up(inputs, output, suffix, {name: options[name] for name in FILES})
    if preview is not None:
        return show_previews(pairs, preview, options, talking)
    options = with_model_opened(options, len(pairs), talking["quiet"])
    if dry_run:
        return show_plans(pairs, options, talking["as_json"], talking["quiet"])
    stop = threading.Event()
    with stoppable(stop):
        outcomes = [_attempt(pair, options, talking, stop, Turn(number, len(pairs)))
                    for number, pair in enumerate(pairs, 1)]
    return conclude(outcomes, quiet=talking["quiet"] or talking["as_json"])


@click.command(cls=GroupedCommand)
@OUTPUT
@RESULT
@MODEL
@INPUT
@RESOURCES
@TALK
def plan(inputs: tuple[str, ...], output: str | None, suffix: str | None, **options: Any) -> int:
    """Show what `tiler segment` with the same options would do. Reads no voxel.

    With --json one object a line for each input: source, output, disk_free (bytes; null on an object store), format,
    fingerprint, region, tile, block, chunk, shard, chunk_cost, batch, workers, memory, border, nan, canvas, footprint,
    strip, cache, execution, stages, statistics, why, scratch, table, outlines, essence (all that can change the result)
    and estimate (blocks, skipped, tiles, bytes_read, bytes_decoded, bytes_written, flops, redundant, peak_bytes, exact,
    decodes, seconds, disk_bytes, temporary_bytes).
    """
    talking = {name: options.pop(name) for name in TALKING if name in options}
    set_up_logging(talking["verbose"], talking["log_file"])
    pairs = pair_up(inputs, output, suffix, {name: options[name] for name in FILES})
    options = with_model_opened(options, len(pairs), talking["quiet"])
    return show_plans(pairs, options, talking["as_json"], talking["quiet"])


@click.command(cls=GroupedCommand)
@OUTPUT
@RESULT
@MODEL
@INPUT
@RESOURCES
def config(**given: Any) -> int:
    """Print a run as TOML, for tiler segment --config FILE.

    Options that are not given are there as comments, with their defaults.
    """
    checked(given)
    click.echo(as_toml(given), nl=False)
    return 0


def with_model_opened(options: dict[str, Any], inputs: int, quiet: bool) -> dict[str, Any]:
    """The options, with the model opened once where several inputs share it.

    A run that goes on opens the model with its own stored options. Rotations by seven angles depend on the size of the
    input, the factors of ``--rescale auto`` on the size of its voxels, and the threads of a network on the number of
    dask's processes.
    """
    given = {name: value for name, value in options.items() if value is not None}
    of_input = given.get("average") == "rot7" or given.get("rescale") == "auto"
    if inputs == 1 or of_input or given.get("resume") or given.get("executor") == "dask":
        return given
    chosen = {name: given.pop(name) for name in OF_MODEL & given.keys()}
    with waiting(quiet):
        return {**given, "model": api.open_model(given["model"], trust=given["trust"], **chosen)}


def show_plans(pairs: list[Pair], options: dict[str, Any], as_json: bool, quiet: bool) -> int:
    wanted = {name: value for name, value in options.items() if name not in INTENT}
    for pair in pairs:
        with waiting(quiet):
            made = api.plan(pair.source, output=pair.output, **pair.over(wanted))
        if as_json:
            told = {"source": pair.source, "output": str(pair.output), "disk_free": room_for(pair.output)}
            click.echo(json.dumps({**told, **made.to_json()}))
        else:
            plan_table(pair.source, pair.output, made)
    return 0


def show_previews(pairs: list[Pair], name: str, options: dict[str, Any], talking: dict[str, Any]) -> int:
    """Write a picture for each input, and say what is in it and how long the whole would take."""
    kept = {key: value for key, value in options.items() if key not in ("resume", "verify", "same_input")}
    pictures = named_for_each(name, [pair.source for pair in pairs], "preview")
    stop = threading.Event()
    for pair, picture in zip(pairs, pictures, strict=True):
        with stoppable(stop), listening(talking["quiet"]) as listener:
            found = api.preview(pair.source, output=picture, listener=listener, stop=stop, **kept)
        told = {"source": pair.source, "preview": picture, "region": str(found.region), "objects": found.count,
                "seconds": round(found.seconds, 3), "expected_seconds": round(found.expected_seconds, 3)}
        click.echo(json.dumps(told) if talking["as_json"] else printable(picture))
        if not talking["as_json"]:
            tell(f"{found.count} objects in {found.region} after {found.seconds:.1f} s; the whole would take about "
                 f"{duration(found.expected_seconds)}")
    return 0


def _attempt(pair: Pair, options: dict[str, Any], talking: dict[str, Any], stop: threading.Event,
             turn: Turn) -> Outcome:
    """One input; its failure is reported and returned, so that the next one has its turn."""
    if stop.is_set():
        return Outcome(pair, Interrupted("not begun"))
    begun = time.monotonic()
    try:
        log.info("%s -> %s begins, tiler %s", pair.source, pair.output, __version__)
        with heard_and_logged(talking["quiet"], talking["progress"], turn.named(pair)) as listener:
            api.segment(pair.source, output=pair.output, listener=listener, stop=stop, **pair.over(options))
    except Exception as error:
        log.debug("%s", traceback.format_exc())
        failure = error if isinstance(error, TilerError) else TilerError(unexpected(error))
        log.error("%s: %s", pair.source, spelled(failure))
        if turn.total == 1:
            raise failure from error
        tell(f"tiler: {pair.source}: {spelled(failure)}")
        return Outcome(pair, failure)
    log.info("%s -> %s", pair.source, pair.output)
    shared = options.get("part") or options.get("claim")
    finished = not shared or api.status(pair.output).finished
    objects = output_of(pair.output).objects if finished else None
    outcome = Outcome(pair, None, time.monotonic() - begun, objects, finished)
    if talking["as_json"]:
        click.echo(json.dumps(outcome.to_json()))
    elif finished:
        click.echo(printable(str(pair.output)))
    return outcome
