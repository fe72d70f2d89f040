"""`tiler train`."""

from __future__ import annotations

import ast
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.progress import Progress, TextColumn

from tiler.activity import doing
from tiler.cli.logs import set_up_logging, spelled_text, tell
from tiler.cli.options import TALK, GroupedCommand, option, together
from tiler.cli.progress import SILENCE
from tiler.cli.talk import fitting, stoppable
from tiler.errors import PlanError

if TYPE_CHECKING:
    from tiler.models.training import CrossValidation

LARGEST_SEED = 2**43 - 1
"""The seed of torch's generators, of 63 bits, has the step in its lower digits."""

OUTPUT = together(
    click.argument("inputs", nargs=-1, required=True, metavar="IMAGES LABELS [IMAGES LABELS]..."),
    option("Result", "-o", "--output", brief="weights to write, for example mine.safetensors", required=True,
           metavar="FILE", help="Weights to write, .safetensors."),
    option("Result", "--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True,
           help="Type of the values in the file."),
    option("Result", "--classes", brief="what 0 and other labels mean: membrane,cell", metavar="NAME,NAME",
           help="What 0 and other labels mean, or a name for each output channel. [default: background,object]"),
    option("Result", "--licence", metavar="TEXT", help="Licence of the weights, free text."),
    option("Result", "--resume", brief="continue an unfinished run", is_flag=True, help="Continue an unfinished run."),
    option("Result", "--overwrite",
           brief="start again and replace an existing run",
           is_flag=True, help="Start again and replace an existing run."),
)
NETWORK = together(
    option("Model", "--model", "-m", brief="a name (tiler models), smp:Unet or mine.py:make", metavar="NAME",
           help="Registered network, one of a library (smp:Unet, monai:DynUNet), or your own: file.py:factory or "
                "package.module:factory, of slices or of volumes. [default: unet]"),
    option("Model", "--base", brief="channels of the first level, for example 16", type=click.IntRange(min=1),
           help="Channels of its first level. [default: 32 for unet, else as published]"),
    option("Model", "--depth", brief="number of poolings, for example 4",
           type=click.IntRange(min=1), help="Number of its poolings. [default: as published]"),
    option("Model", "--model-arg", "arguments", multiple=True, metavar="NAME=VALUE",
           help="Any other argument of the network or factory, such as dropout=0.5."),
    option("Model", "--init", brief="weights to begin with, for example unet-isbi2012", metavar="FILE",
           help="Weights to begin with: a file, or the name of a network with bundled weights. Tensors that do not "
                "fit, such as another head, begin at random. [default: random ones]"),
    option("Model", "--freeze", metavar="PREFIX", multiple=True,
           help="Do not train the parameters whose names begin so, such as enc."),
    option("Model", "--normalise", metavar="MEAN,STD",
           help="Normalisation of grey values, or none; written into the weights. [default: that of --init, else of "
                "the images]"),
)
TRAINING = together(
    option("Training", "--recipe", brief="for example default or paper", metavar="NAME",
           help="default, paper (of the U-Net), unetpp, unet3plus, fcn, fcn-alexnet, fcn-googlenet, sliding-window or "
                "esfpnet. [default: that of the network; default for the U-Net]"),
    option("Training", "--loss", brief="for example bce-dice, or mine.py:function", metavar="NAME",
           help="cross-entropy, bce-dice, bce-dice-of-batch, bce-dice-as-printed, full-scale, structure or "
                "guided-attention; or your own function(scores, classes, weights): file.py:function. "
                "[default: the recipe's]"),
    option("Training", "--augment", metavar="FILE.PY:FUNCTION",
           help="Your own function(image, classes, weights, random), applied after the recipe's augmentation."),
    option("Training", "--steps",
           brief="length of the run, for example 5000",
           type=click.IntRange(min=1), help="Length of the run. [default: 5000]"),
    option("Training", "--time", brief="length as a time, for example 1h30m", metavar="TIME",
           help="Length as a time, such as 2h or 1h30m; converted to steps when the run begins."),
    option("Training", "--validate", brief="slices to hold out, for example 25:30", metavar="FIRST:LAST",
           help="Slices to hold out, LAST not included. The weights that score best on them are kept."),
    option("Training", "--validate-every", metavar="N", type=click.IntRange(min=1),
           help="Steps between two validations. [default: a twentieth of the run]"),
    option("Training", "--cross-validate", "folds", metavar="K", type=click.IntRange(min=2),
           help="Instead train K times, each time holding out another part of the slices, and print the scores."),
    option("Training", "--tile", brief="side of a tile, for example 252", metavar="SIZE",
           help="Side of a tile, or Z,Y,X for a network of volumes. "
           "[default: the recipe's]"),
    option("Training", "--batch", brief="tiles a step, for example 4",
           type=click.IntRange(min=1), help="Tiles a step. [default: the recipe's]"),
    option("Training", "--weight-map", type=click.Choice(["none", "paper", "2019"]),
           help="Weights between touching objects. [default: the recipe's]"),
    option("Training", "--balance", type=click.Choice(["none", "inverse"]),
           help="Weights of the classes. [default: the recipe's]"),
    option("Training", "--set", "changes", multiple=True, metavar="FIELD=VALUE",
           help="Change any field of the recipe, such as learning_rate=5e-4, loss=bce-dice or "
                "augmentation.elastic=5."),
    option("Training", "--preview", brief="draw augmented tiles into a picture", metavar="FILE.PNG", type=click.Path(),
           help="Before the first step, draw augmented tiles with their labels and weights."),
    option("Training", "--sanity", is_flag=True,
           help="First try for a minute whether the network can learn one batch of tiles by heart."),
    option("Training", "--seed",
           brief="of all random numbers, for example 1", type=click.IntRange(0, LARGEST_SEED), help="[default: 0]"),
)
MACHINE = together(
    option("Resources", "--device",
           brief="auto, cpu, cuda, cuda:1 or mps", metavar="NAME", default="auto", show_default=True,
           help="auto, cpu, cuda, cuda:1 or mps."),
    option("Resources", "--precision", type=click.Choice(["auto", "float32", "bfloat16"]),
           help="Precision of the convolutions. [default: the recipe's]"),
    option("Resources", "--threads", type=click.IntRange(min=1),
           help="CPU threads. Results are reproducible only with the same number. [default: all]"),
)
SHAPING = ("base", "depth")
"""Options that are arguments of the network."""
FIELDS = {"batch": "batch", "precision": "precision", "weight_map": "weights.border",
          "balance": "weights.balance", "loss": "loss", "augment": "augment"}
"""Options that are fields of the recipe."""


@click.command(cls=GroupedCommand)
@OUTPUT
@NETWORK
@TRAINING
@MACHINE
@TALK
def train(inputs: tuple[str, ...], output: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Train a network on annotated slices.

    LABELS hold 0 for background (or membrane) and one other value for objects (or cells), or one value for each
    object. Prints the path of the weights; beside them come learning curves as CSV and SVG. With --cross-validate
    prints the path of a table of scores.
    """
    set_up_logging(options.pop("verbose"), options.pop("log_file"))
    images, labels = paired(inputs)
    given = training_options(options)
    folds, stop = given.pop("folds", None), threading.Event()
    with stoppable(stop, at="step"), listening(quiet) as listener:
        doing("loading torch")
        from tiler.models.training import cross_validate
        from tiler.models.training import train as trained

        if folds is not None:
            found = cross_validate(images, labels, output, folds, listener=listener, stop=stop, **given)
            print_folds(found, as_json)
            return
        result = trained(images, labels, output, listener=listener, stop=stop, **given)
    if as_json:
        click.echo(json.dumps({"weights": str(result.weights), "curves": str(result.curves), "steps": result.steps,
                               "best": result.best}))
    else:
        click.echo(str(result.weights))


def print_folds(found: CrossValidation, as_json: bool) -> None:
    """The scores of a cross-validation: mean and standard deviation of each."""
    if as_json:
        folds = [{"held_out": fold.held_out, "weights": str(fold.result.weights), **(fold.result.best or {})}
                 for fold in found.folds]
        click.echo(json.dumps({"table": str(found.table), "folds": folds, "summary": found.summary}))
        return
    for name, (mean, deviation) in found.summary.items():
        tell(f"{name}: {mean:.5f} +- {deviation:.5f}")
    click.echo(str(found.table))


def paired(inputs: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Images and labels, which are given alternately."""
    if len(inputs) % 2:
        raise click.UsageError(f"{len(inputs)} inputs are not pairs: give IMAGES LABELS, or several such pairs")
    return list(inputs[::2]), list(inputs[1::2])


def training_options(options: dict[str, Any]) -> dict[str, Any]:
    """Keywords of `tiler.models.train`."""
    changes = {path: value for name, path in FIELDS.items() if (value := options.pop(name)) is not None}
    if (tile := options.pop("tile")) is not None:
        changes |= _tile(tile)
    changes |= dict(_setting(text, "--set") for text in options.pop("changes"))
    arguments = dict(_setting(text, "--model-arg") for text in options.pop("arguments"))
    for name in arguments.keys() & SHAPING:
        if options[name] is not None:
            raise PlanError(f"{name} is {options[name]} by --{name}, and {arguments[name]} by --model-arg: "
                            "give one of them")
    classes = options.pop("classes")
    given = {name: value for name, value in options.items() if value is not None}
    if changes:
        given["changes"] = changes
    if arguments:
        given["arguments"] = arguments
    if classes is not None:
        given["classes"] = _class_names(classes)
    return given


def _setting(text: str, option: str) -> tuple[str, Any]:
    """Name and value of ``learning_rate=5e-4``; a value that is not a Python literal is a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise PlanError(f"{text!r} sets nothing: give NAME=VALUE, such as dropout=0.5 ({option})")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (SyntaxError, ValueError):
        return name.strip(), value.strip()


def _tile(text: str) -> dict[str, int]:
    """``444`` as side of a tile, ``16,96,96`` as planes and side."""
    parts = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if len(parts) not in (1, 3) or min(parts) < 1 or parts[-1] != parts[-2:][0]:
        raise PlanError(f"{text!r} is not the size of a tile: give its side, such as 444, or Z,Y,X with Y = X, such as "
                        "16,96,96 (--tile)")
    return {"tile": parts[-1]} | ({"planes": parts[0]} if len(parts) == 3 else {})


def _class_names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise PlanError(f"{text!r} does not name two classes: give two names, such as membrane,cell (--classes)")
    return names


class Quiet:
    """A listener that shows warnings only."""

    def started(self, total: int, done: int) -> None: ...
    def doing(self, step: str) -> None: ...
    def expecting(self, tiles: int | None) -> None: ...
    def computed(self, tiles: int, of: int) -> None: ...
    def stepped(self, step: int, loss: float) -> None: ...
    def validated(self, step: int, scores: dict[str, float], best: bool) -> None: ...
    def note(self, message: str) -> None: ...
    def warn(self, message: str) -> None:
        tell(f"warning: {spelled_text(message)}")


@dataclass
class Lines(Quiet):
    """A listener for output that is not a terminal: it prints a line from time to time, with the time left."""

    total: int = 0
    done: int = 0
    begun: float = 0.0
    spoken_at: float = 0.0

    def started(self, total: int, done: int) -> None:
        self.total, self.done = total, done
        self.begun = self.spoken_at = time.monotonic()
        if done:
            tell(f"{done} of {total} steps were done before")

    def stepped(self, step: int, loss: float) -> None:
        now = time.monotonic()
        if step == self.total or now - self.spoken_at >= SILENCE:
            self.spoken_at = now
            left = (now - self.begun) / (step - self.done) * (self.total - step)
            tell(f"step {step} of {self.total}, loss {loss:.4f}, {left / 60:.0f} min left")

    def note(self, message: str) -> None:
        tell(spelled_text(message))

    def validated(self, step: int, scores: dict[str, float], best: bool) -> None:
        tell(f"step {step}: {described(scores)}{', the best so far' if best else ''}")


@dataclass
class Bars(Quiet):
    """A listener for terminals: one bar with the loss and the time left."""

    progress: Progress
    bar: Any = None
    total: int = 0

    def doing(self, step: str) -> None:
        if self.bar is None:
            self.bar = self.progress.add_task(step, total=None, loss=float("nan"), count="")
        elif not self.total:
            self.progress.update(self.bar, description=step)

    def started(self, total: int, done: int) -> None:
        if self.bar is not None:
            self.progress.remove_task(self.bar)
        self.total = total
        self.bar = self.progress.add_task("training", total=total, completed=done, loss=float("nan"),
                                          count=f"{done}/{total}")

    def stepped(self, step: int, loss: float) -> None:
        self.progress.update(self.bar, completed=step, loss=loss, count=f"{step}/{self.total}")

    def validated(self, step: int, scores: dict[str, float], best: bool) -> None:
        line = f"step {step}: {described(scores)}"
        self.progress.console.print(line, style="bold" if best else None, highlight=False)

    def note(self, message: str) -> None:
        self.progress.console.print(spelled_text(message), highlight=False)

    def warn(self, message: str) -> None:
        self.progress.console.print(f"warning: {spelled_text(message)}", style="yellow", highlight=False)


def described(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.5f}" for name, value in scores.items())


@contextmanager
def listening(quiet: bool) -> Iterator[Quiet]:
    """The listener for stderr: bars in a terminal, else lines."""
    with fitting(quiet, (Quiet, Lines, Bars), TextColumn("loss {task.fields[loss]:.4f}")) as listener:
        yield listener
