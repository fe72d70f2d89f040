"""Train a network: images and labels in, a weights file out."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from tiler.activity import doing
from tiler.errors import JournalError, PlanError, SinkError
from tiler.models.training.checkpoint import Checkpoint
from tiler.models.training.data import Slice, fingerprint, read_pair, split, weights_of
from tiler.models.training.kind_of_data import kind_of_data
from tiler.models.training.listening import SilentTraining, TrainingListener
from tiler.models.training.measure import steps_in
from tiler.models.training.options import TrainingOptions, parse_slices, parse_time
from tiler.models.training.own_code import own_function
from tiler.models.training.planning import Prepared, prepare, prepare_again
from tiler.models.training.preview import write_preview
from tiler.models.training.provenance import About
from tiler.models.training.record import Files
from tiler.models.training.run import Run
from tiler.models.training.settings import Settings
from tiler.models.training.tiles import OwnAugmentation, TileSampler, checked_augmentation
from tiler.models.training.trial import overfit, rehearse_own


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of a finished run.

    Parameters
    ----------
    weights, curves
        Files: safetensors, CSV.
    steps
        Number of completed steps.
    best
        Validation scores of the weights, and the step at which they were reached; None without validation, where
        the weights are those of the last step.
    """

    weights: Path
    curves: Path
    steps: int
    best: dict[str, float] | None


def train(
    images: Any,
    labels: Any,
    output: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    listener: TrainingListener | None = None,
    stop: threading.Event | None = None,
    **options: Any,
) -> TrainingResult:
    """Train a network on annotated slices and write weights that `tiler.segment` takes.

    Parameters
    ----------
    images, labels
        Path or array of a stack and of its labels, or a list of each; see `tiler.open_volume`. In labels 0 is
        background (or membrane); one other value is the object (or cell), several are instances.
    output
        ``.safetensors`` file. Beside it come ``.csv`` and ``.svg`` with the learning curves, and a folder
        ``NAME.training`` with the checkpoint and the best weights so far.
    resume, overwrite
        Whether to continue an existing run, or to replace it. On the CPU, with the same versions and number of
        threads, a resumed run gives exactly the tensors that an undisturbed run gives.
    listener
        Receives progress.
    stop
        Set it from another thread or a signal handler to stop after the current step.
    **options
        Fields of `tiler.models.training.TrainingOptions`: recipe, steps, time, validate, seed, ...

    Raises
    ------
    TilerError
        Any error of the package, with one line of explanation. The run can be resumed from its last checkpoint.
    """
    chosen, files = TrainingOptions(**options), _files(Path(output))
    stored = _stored(files, resume, overwrite)
    doing("reading the images and building the network")
    run = _run(images, labels, chosen, stored, files, listener or SilentTraining())
    _require_room(run, files)
    if chosen.preview is not None:
        write_preview(run.sampler, Path(chosen.preview))
    with _alone(files):
        doing("trying out a step")
        if stored is None:
            files.best.unlink(missing_ok=True)
            rehearse_own(run)
            if chosen.sanity:
                overfit(run, run.listener.note)
            if run.held_out:
                run.rehearse_validation()
            run.save()  # from now on the run can be resumed
        else:
            run.restore(stored)
        run.finish(stop or threading.Event())
        run.conclude(torch.float16 if chosen.dtype == "float16" else torch.float32)
    return TrainingResult(files.weights, files.csv, run.step, run.record.best)


def _files(output: Path) -> Files:
    if output.suffix != ".safetensors":
        raise PlanError(f"weights are written as NAME.safetensors, got {output}", option="output")
    if not output.parent.is_dir():
        raise SinkError(f"there is no folder {output.parent} for {output.name}", option="output")
    return Files(output)


def _stored(files: Files, resume: bool, overwrite: bool) -> Checkpoint | None:
    """The checkpoint to resume from; None for a new run."""
    there = files.checkpoint.exists()
    if resume:
        if not there:
            raise PlanError(f"there is no run to resume in {files.folder}: leave out `resume=True`")
        return Checkpoint.load(files.checkpoint)
    if (there or files.weights.exists()) and not overwrite:
        found = files.folder if there else files.weights
        raise PlanError(f"{found} already exists: resume it (`resume=True`) or replace it", option="overwrite")
    return None


def _run(images: Any, labels: Any, options: TrainingOptions, stored: Checkpoint | None, files: Files,
         listener: TrainingListener) -> Run:
    """A run before its next step. If its length is given as a time, the number of steps is measured."""
    slices = _read(images, labels, listener)
    data = fingerprint(slices)
    if stored is None:
        training, held_out = split(slices, parse_slices(options.validate))
        _require_two_classes(training)
        prepared = prepare(options, slices, training, data)
    else:
        prepared = prepare_again(options, Settings.from_json(stored.settings), stored.step, data)
        training, held_out = split(slices, prepared.settings.validate)
    for note in prepared.notes:
        listener.warn(note)
    run = Run(prepared.settings, prepared.module, _sampler(prepared, training), held_out,
              about=About(options.licence, kind_of_data([stack for stack, _ in pairs_of(images, labels)], slices)),
              files=files, listener=listener, checkpoint_seconds=options.checkpoint_seconds)
    if options.time is not None and stored is None:
        run.settle(steps_in(parse_time(options.time), run), options.validate_every)
    return run


def _read(images: Any, labels: Any, listener: TrainingListener) -> list[Slice]:
    slices = [item for stack, pair in enumerate(pairs_of(images, labels))
              for item in read_pair(*pair, stack, listener.warn)]
    if len(channels := {len(item.image) for item in slices}) > 1:
        raise PlanError(f"the stacks have {' and '.join(map(str, sorted(channels)))} channels: give stacks with the "
                        "same channels")
    return slices


def _sampler(prepared: Prepared, training: Sequence[Slice]) -> TileSampler:
    settings, recipe = prepared.settings, prepared.settings.recipe
    return TileSampler(training, weights_of(training, recipe.weights), settings.normalisation, recipe.augmentation,
                       recipe.batch, prepared.window, settings.seed, _own_augmentation(recipe.augment))


def _own_augmentation(name: str) -> OwnAugmentation | None:
    return checked_augmentation(own_function(name, "augment"), name) if name else None


def pairs_of(images: Any, labels: Any) -> list[tuple[Any, Any]]:
    """Each stack with its labels."""
    several = [isinstance(given, list | tuple) for given in (images, labels)]
    if not any(several):
        return [(images, labels)]
    if not all(several) or len(images) != len(labels) or not images:
        raise PlanError("each stack of images needs its labels: give as many label files as image files")
    return list(zip(images, labels, strict=True))


def _require_two_classes(slices: Sequence[Slice]) -> None:
    share = np.mean([item.classes.mean() for item in slices])
    if share in (0, 1):
        raise PlanError(f"the slices to train on hold {'objects' if share else 'background'} only: validate on others",
                        option="validate")


def _require_room(run: Run, files: Files) -> None:
    """Refuse a full disk. Two checkpoints must fit, since the old one stays until the new one is complete."""
    state = sum(value.nbytes for value in run.module.state_dict().values())
    needed = 2 * 4 * state + 3 * state
    free = shutil.disk_usage(files.weights.parent).free
    if free < needed:
        raise SinkError(f"{files.weights.parent} has {free / 1e6:.0f} MB free, checkpoints and weights of this run "
                        f"need {needed / 1e6:.0f} MB: make room or write elsewhere", option="output")


@contextmanager
def _alone(files: Files) -> Iterator[None]:
    """Lock the run's folder against other processes. The system frees the lock of a killed process."""
    try:
        files.folder.mkdir(exist_ok=True)
        with FileLock(files.folder / "lock", timeout=0):
            yield
    except Timeout:
        raise JournalError(f"another process trains into {files.folder}: wait for it, or write elsewhere",
                           option="output") from None
    except FileExistsError as error:
        raise SinkError(f"cannot make the folder {files.folder}: {error.strerror}", option="output") from error
