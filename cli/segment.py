"""`tiler segment` and `tiler plan`."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tiler import api
from tiler.cli import completion
from tiler.cli.logs import printable, set_up_logging, spelled, tell, unexpected
from tiler.cli.options import INPUT, MODEL, RESOURCES, RESULT, TALK, GroupedCommand, option, together
from tiler.cli.table import plan_table, room_for
from tiler.cli.talk import listening, stoppable
from tiler.errors import Interrupted, PlanError, TilerError
from tiler.options import OF_MODEL
from tiler.sinks import FORMATS
from tiler.sources.files import PRECOMPUTED, split_inner
from tiler.stores.address import Place, is_address, place_of
from tiler.stores.label_places import is_label

log = logging.getLogger("tiler.cli")

SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)
DEFAULT_SUFFIX = ".zarr"

OUTPUT = together(
    click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", shell_complete=completion.files),
    option("Result", "-o", "--output", metavar="OUTPUT|DIR", shell_complete=completion.files,
           help=".zarr, .tif, .ome.tif, .h5 or .npy file, s3:// or gs:// zarr, IMAGE.zarr/labels/NAME (labels of an "
                "OME-Zarr image), or a folder. [default: STEM_segmented.zarr]"),
)
GOING_ON = together(
    option("Result", "--resume", is_flag=True, help="Go on with an unfinished run."),
    option("Result", "--overwrite", is_flag=True, help="Start anew and replace the output."),
    option("Result", "--verify", is_flag=True, help="With --resume: read the finished blocks again."),
    option("Result", "--same-input", is_flag=True,
           help="With --resume: accept a moved input whose sampled blocks agree."),
    option("Messages", "--dry-run", is_flag=True, help="Only show the plan."),
)
INTENT = ("resume", "overwrite", "verify", "same_input")
TALKING = ("as_json", "quiet", "verbose", "log_file")


@dataclass(frozen=True, slots=True)
class Pair:
    """An input and where its result goes."""

    source: str
    output: Place


@click.command(cls=GroupedCommand)
@OUTPUT
@RESULT
@GOING_ON
@MODEL
@INPUT
@RESOURCES
@TALK
def segment(inputs: tuple[str, ...], output: str | None, dry_run: bool, **options: Any) -> int:
    """Segment volumes: TIFF, zarr, .npy, or folders of images.

    Prints the path of each result. Several inputs are a batch job: the network is loaded once, and an input
    that fails does not stop the others.

    With --json one object a line, as inputs are finished: source, output, seconds.
    """
    talking = {name: options.pop(name) for name in TALKING}
    set_up_logging(talking["verbose"], talking["log_file"])
    if (options["verify"] or options["same_input"]) and not options["resume"]:
        raise click.UsageError("--verify and --same-input belong to --resume")
    pairs = pair_up(inputs, output)
    options = with_model_opened(options, len(pairs))
    if dry_run:
        return show_plans(pairs, options, talking["as_json"])
    stop = threading.Event()
    with stoppable(stop):
        outcomes = [_attempt(pair, options, talking, stop, len(pairs)) for pair in pairs]
    return _conclude(pairs, outcomes)


@click.command(cls=GroupedCommand)
@OUTPUT
@RESULT
@MODEL
@INPUT
@RESOURCES
@TALK
def plan(inputs: tuple[str, ...], output: str | None, **options: Any) -> int:
    """Show what `tiler segment` with the same options would do. Reads no voxel.

    With --json one object a line for each input: source, output, disk_free (bytes; null on an object store), format,
    fingerprint, region, tile, block, chunk, batch, workers, memory, border, nan, canvas, footprint, strip, cache,
    essence (all that can change the result) and estimate (blocks, tiles, bytes_read, bytes_decoded, bytes_written,
    flops, redundant, peak_bytes, exact, passes, decodes, seconds, disk_bytes, temporary_bytes).
    """
    talking = {name: options.pop(name) for name in TALKING}
    set_up_logging(talking["verbose"], talking["log_file"])
    pairs = pair_up(inputs, output)
    return show_plans(pairs, with_model_opened(options, len(pairs)), talking["as_json"])


def with_model_opened(options: dict[str, Any], inputs: int) -> dict[str, Any]:
    """The options, with the model opened once where several inputs share it.

    A run that goes on opens the model with its own stored options. Rotations by seven angles depend on the size of the
    input, and the threads of a network on the number of dask's processes.
    """
    given = {name: value for name, value in options.items() if value is not None}
    alone = inputs == 1 or given.get("resume") or given.get("average") == "rot7" or given.get("executor") == "dask"
    if alone:
        return given
    chosen = {name: given.pop(name) for name in OF_MODEL & given.keys()}
    return {**given, "model": api.open_model(given["model"], trust=given["trust"], **chosen)}


def pair_up(inputs: tuple[str, ...], output: str | None) -> list[Pair]:
    """One output an input; two of one name are refused before anything runs."""
    if "" in (*inputs, output):
        raise click.UsageError("the name of an input or output is empty")
    for source in filter(is_address, (name.removeprefix(PRECOMPUTED) for name in inputs)):
        place_of(source)  # one that holds credentials is refused before it is printed anywhere
    is_file = output is not None and (Path(output).name.lower().endswith(SUFFIXES) or is_label(place_of(output)))
    is_folder = output is None or output.endswith(("/", os.sep)) or Path(output).is_dir()
    if output and len(inputs) == 1 and (is_file or not is_folder):
        pairs = [Pair(inputs[0], place_of(output))]
    else:
        folder = place_of(output or ".")
        if is_file:
            raise PlanError(f"{len(inputs)} inputs need a folder for their outputs, {output} names one file (-o)")
        suffix = "" if is_label(folder / "name") else DEFAULT_SUFFIX
        pairs = [Pair(source, folder / f"{_stem(source)}_segmented{suffix}") for source in inputs]
    _refuse_twins(pairs)
    return pairs


def _stem(source: str) -> str:
    """The name without its suffix; a level inside a zarr or a dataset of an HDF5 file is called after the whole."""
    path = Path(os.path.abspath(split_inner(Path(source))[0]))
    for part in (path, *path.parents):
        if part.suffix == ".zarr":
            path = part
    return path.name.split(".")[0] or path.name


def _refuse_twins(pairs: list[Pair]) -> None:
    seen: dict[Place, str] = {}
    for pair in pairs:
        target = pair.output.absolute()
        if target in seen:
            raise PlanError(f"{seen[target]} and {pair.source} would both be written to {pair.output}: "
                            "run them apart with -o")
        seen[target] = pair.source


def show_plans(pairs: list[Pair], options: dict[str, Any], as_json: bool) -> int:
    wanted = {name: value for name, value in options.items() if name not in INTENT}
    for pair in pairs:
        made = api.plan(pair.source, output=pair.output, **wanted)
        if as_json:
            told = {"source": pair.source, "output": str(pair.output), "disk_free": room_for(pair.output)}
            click.echo(json.dumps({**told, **made.to_json()}))
        else:
            plan_table(pair.source, pair.output, made)
    return 0


def _attempt(pair: Pair, options: dict[str, Any], talking: dict[str, Any], stop: threading.Event,
             total: int) -> TilerError | None:
    """One input; its failure is reported and returned, so that the next one has its turn."""
    if stop.is_set():
        return Interrupted("not begun")
    begun = time.monotonic()
    try:
        with listening(talking["quiet"]) as listener:
            api.segment(pair.source, output=pair.output, listener=listener, stop=stop, **options)
    except Exception as error:
        log.debug("%s", traceback.format_exc())
        failure = error if isinstance(error, TilerError) else TilerError(unexpected(error))
        log.error("%s: %s", pair.source, spelled(failure))
        if total == 1:
            raise failure from error
        tell(f"tiler: {pair.source}: {spelled(failure)}")
        return failure
    log.info("%s -> %s", pair.source, pair.output)
    _announce(pair, time.monotonic() - begun, talking["as_json"])
    return None


def _announce(pair: Pair, seconds: float, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"source": pair.source, "output": str(pair.output), "seconds": round(seconds, 3)}))
    else:
        click.echo(printable(str(pair.output)))


def _conclude(pairs: list[Pair], outcomes: list[TilerError | None]) -> int:
    """Say which inputs failed, as the last lines; the exit code says whether any did."""
    failed = [(pair, error) for pair, error in zip(pairs, outcomes, strict=True) if error is not None]
    if not failed:
        return 0
    tell(f"tiler: {len(failed)} of {len(pairs)} inputs failed:")
    for pair, error in failed:
        tell(f"  {pair.source}: {spelled(error)}")
    return 130 if any(isinstance(error, Interrupted) for _, error in failed) else 1
