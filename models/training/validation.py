"""Validation: the engine itself on held-out slices, scored by the ISBI-2012 protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tiler.api import open_model, plan, segment
from tiler.errors import PlanError, TilerError, UnboundedContextError, marked_line
from tiler.metrics import Isbi2012
from tiler.models.training.data import Slice, runs_of
from tiler.models.training.settings import Settings
from tiler.models.zoo import registry
from tiler.ports import Array

CHOSEN_BY = "v_rand_thinned"
"""The score (higher is better) that selects the best weights."""
SCORES = ("v_rand_thinned", "v_info_thinned", "pixel_error", "rand_error_2012", "warping_min_splits_mergers_r20")


def validate(weights: Path, settings: Settings, slices: Sequence[Slice]) -> dict[str, float]:
    """Scores of a weights file, by name; see `tiler.metrics.Isbi2012Result`.

    Parameters
    ----------
    weights
        Weights to score.
    settings
        Settings of the run: network, device and threads.
    slices
        Their images are segmented slice by slice, or for a network of volumes each unbroken run of them as one
        volume, in float32, without averaging.
    """
    scores = Isbi2012()
    call = _call(weights, settings, slices)
    for volume, truth in volumes_of(slices, settings.ndim):
        found = segment(volume, **call)
        for layer, classes in zip(np.asarray(found).reshape(truth.shape), truth, strict=True):
            scores.add(layer, classes)
    headline = scores.result().headline()
    return {name: float(headline[name]) for name in SCORES}


def volumes_of(slices: Sequence[Slice], ndim: int) -> Iterator[tuple[Array, Array]]:
    """Images ``(c, z, y, x)`` and their classes ``(z, y, x)``, with z = 1 for networks of slices."""
    runs = [range(at, at + 1) for at in range(len(slices))] if ndim == 2 else runs_of(slices)
    for run in runs:
        yield (np.stack([slices[at].image for at in run], 1), np.stack([slices[at].classes for at in run]))


def _call(weights: Path, settings: Settings, slices: Sequence[Slice]) -> dict[str, Any]:
    """Options of the engine for the trained network, opened once; whole volumes if no tiling of it is exact."""
    options: dict[str, Any] = {"weights": weights, "device": settings.device, "threads": settings.threads,
                               "head": head_of(settings.out_channels)}
    try:
        model = open_model(settings.model, **options)
    except UnboundedContextError:
        model = open_model(settings.model, tiling="whole", **options)
    call: dict[str, Any] = {"model": model, "axes": "czyx"}
    volume, _ = next(volumes_of(slices, settings.ndim))
    plan(volume, **call)
    return call


def head_of(channels: int) -> str:
    """The function that turns scores into probabilities, as in tiler's losses."""
    return "softmax" if channels > 1 else "sigmoid"


def require_validation(weights: Path, settings: Settings, slices: Sequence[Slice]) -> None:
    """Refuse a network that the engine cannot run, before any training.

    Parameters
    ----------
    weights
        Weights of the network, trained or not.
    settings
        Settings of the run.
    slices
        Slices to validate on, of which only the shapes are used.

    Raises
    ------
    PlanError
        If the scores do not apply to the network, or the engine refuses it.
    """
    model = Path(settings.model).name
    if settings.out_channels > 2:
        raise PlanError(f"{model} cannot be validated: it gives {settings.out_channels} channels, the scores are of "
                        "background and object; train without", option="validate")
    if settings.model in registry.names() and registry.describe(settings.model).exactness == "WHOLE":
        raise PlanError(f"{model} cannot be validated: it says what a whole image shows, which scores of segmentation "
                        "do not measure; train without", option="validate")
    try:
        _call(weights, settings, slices)
    except TilerError as error:
        raise PlanError(f"{model} cannot be validated: {marked_line(error)}; train without",
                        option="validate") from error
