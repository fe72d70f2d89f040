"""`tiler view`."""

from __future__ import annotations

import json
import signal
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from tiler.cli.logs import tell
from tiler.cli.options import json_option
from tiler.cli.waiting import waiting
from tiler.errors import PlanError

INSTALL = "pip install 'em-tiler[view]'"


@click.command()
@click.argument("image", type=click.Path())
@click.argument("results", nargs=-1, type=click.Path(), metavar="[RESULT]...")
@click.option("--port", default=0, show_default="one that is free", type=click.IntRange(0, 65535),
              help="Where to listen, on this machine only.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the address in a browser.")
@click.option("--axes", metavar="AXES", help="Names of the image's axes, such as tyx.")
@json_option("address, layers (name, kind, shape of each)")
def view(image: str, results: tuple[str, ...], port: int, browser: bool, axes: str | None, as_json: bool) -> None:
    """Look at an IMAGE with RESULTs over it, in neuroglancer.

    Volumes of any size in any format that tiler segment reads; what the browser shows is read when it is shown.
    Prints an address that answers on this machine only, until Ctrl-C, which ends it with exit code 0.

    Probabilities lie over the image in a colour with sliders (as their complement where they would cover most of
    it, such as membranes where P(cell) is stored); labels and instances are segments, which a double click
    selects. Results that tiler did not write are shown by their values: integers as labels, numbers from 0 to 1
    as probabilities.
    """
    with waiting(step="loading the viewer"):
        serving, layers_of = _viewer()
        layers = layers_of(image, image=True, axes=axes)
        for result in results:
            layers += layers_of(result, image=False)
    with _until_stopped() as stopped, serving(layers, port) as served:
        if as_json:
            shown = [{"name": layer.name, "kind": layer.kind, "shape": list(layer.array.shape)} for layer in layers]
            click.echo(json.dumps({"address": served.address, "layers": shown}))
        else:
            click.echo(served.address)
        if browser and not webbrowser.open(served.address):
            tell("no browser was found: open the address in one")
        # Windows delivers signals only between two waits.
        while not stopped.wait(0.5):
            pass


def _viewer() -> tuple[Any, Any]:
    try:
        from tiler.viewing.server import serving
    except ModuleNotFoundError as error:
        raise PlanError(f"tiler view needs the package {error.name}: {INSTALL}") from error
    from tiler.viewing.layers import layers_of

    return serving, layers_of


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM, the normal ways to end a viewer, set the event; a second one aborts at once."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
