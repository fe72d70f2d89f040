"""From options to settings: the network, the recipe, the number of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tiler.errors import GeometryError, PlanError
from tiler.models.inference.devices import resolve_device
from tiler.models.loading.weights import file_hash
from tiler.models.training.beginning import begin_with
from tiler.models.training.catalogue import own_loss, own_recipe, recipe
from tiler.models.training.data import Slice, normalisation_of
from tiler.models.training.networks import Rehearsal, Window, arguments_of, build, registered
from tiler.models.training.objectives import OBJECTIVES
from tiler.models.training.options import TrainingOptions, parse_slices
from tiler.models.training.recipes import Recipe
from tiler.models.training.settings import Settings
from tiler.models.training.weight_maps import WeightMap
from tiler.version import __version__

DEFAULT_STEPS = 5000
VALIDATIONS = 20
"""In a run that does not say how often."""


@dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    Parameters
    ----------
    settings
        With nothing left open but the number of steps.
    module
        The network with its initial weights.
    window
        Where its output lies in a tile.
    """

    settings: Settings
    module: nn.Module
    window: Window


def prepare(options: TrainingOptions, slices: Sequence[Slice], training: Sequence[Slice], data: str) -> Prepared:
    """Build the network and settle everything that a new run leaves open.

    Parameters
    ----------
    options
        As given.
    slices, data
        All slices and their fingerprint.
    training
        Those to train on.

    Raises
    ------
    ModelError
        If there is no such network, or it cannot be trained so.
    PlanError
        If the recipe is impossible.
    """
    device, seed, name = resolve_device(options.device), options.seed or 0, options.model or "unet"
    registered(name)
    chosen = _recipe(options, own_recipe(name), name, device)
    module = build(name, arguments_of(name, _given(options), chosen, len(slices[0].image)), seed)
    chosen, window = _fitted(chosen, options, Rehearsal(name, module, chosen.batch))
    steps = options.steps or DEFAULT_STEPS
    settings = Settings(
        model=name, arguments=dict(module.arguments), classes=options.classes or ("background", "object"),
        recipe=chosen, steps=steps, validate=parse_slices(options.validate),
        validate_every=options.validate_every or share_of(steps), seed=seed,
        threads=options.threads or torch.get_num_threads(), device=str(device),
        normalisation=normalisation_of(training), data=data, init=None,
        versions={"tiler": __version__, "torch": torch.__version__})
    return Prepared(_begin_with(module, options.init, settings), module, window)


def prepare_again(options: TrainingOptions, before: Settings, done: int, data: str) -> Prepared:
    """The settings of a run that goes on: those it had; what is given explicitly must be the same.

    Raises
    ------
    PlanChangedError
        If the data or an option differ.
    PlanError
        If the number of steps can no longer be changed.
    """
    module = build(before.model, before.arguments, before.seed)
    rehearsal = Rehearsal(before.model, module, before.recipe.batch)
    given: dict[str, Any] = {
        "model": options.model, "validate": parse_slices(options.validate), "seed": options.seed,
        "threads": options.threads, "classes": options.classes, "steps": options.steps,
        "validate_every": options.validate_every,
        "device": None if options.device == "auto" else str(resolve_device(options.device)),
        "recipe": _recipe_again(options, before, rehearsal),
        "init": None if options.init is None else file_hash(Path(options.init)),
    }
    known = {name: value for name, value in given.items() if value is not None}
    wanted = replace(before, data=data, arguments={**before.arguments, **_given(options)}, **known)
    settings = before.going_on_as(wanted, done)
    return Prepared(settings, module, rehearsal.require(settings.recipe.tile))


def _given(options: TrainingOptions) -> dict[str, Any]:
    """What the user says of the network."""
    shape = {name: value for name in ("base", "depth") if (value := getattr(options, name)) is not None}
    return {**(options.arguments or {}), **shape}


def share_of(steps: int) -> int:
    """Steps between two validations."""
    return -(-steps // VALIDATIONS)


def _recipe(options: TrainingOptions, otherwise: Recipe, model: str, device: torch.device) -> Recipe:
    """The recipe with its changes, its loss and its precision settled."""
    made = recipe(options.recipe or otherwise, **(options.changes or {}))
    if made.loss == "auto":
        made = replace(made, loss=own_loss(model))
    if made.precision == "auto":
        made = replace(made, precision="bfloat16" if computes_in_bfloat16(device) else "float32")
    if made.weights != WeightMap() and not OBJECTIVES[made.loss].weighted:
        raise PlanError(f"the loss {made.loss} gives pixels no weights: leave out --weight-map and --balance, or take "
                        "another one (--set loss=cross-entropy)")
    if OBJECTIVES[made.loss].guides != (registered(model).exactness == "WHOLE"):
        raise PlanError(f"{model} is not trained by {made.loss}: guided-attention is for classifiers of whole images, "
                        "all other losses are for networks that segment; its own is "
                        f"{own_loss(model)} (--set loss=...)")
    return made


def _recipe_again(options: TrainingOptions, before: Settings, rehearsal: Rehearsal) -> Recipe | None:
    """The recipe that a run is to go on with, None where nothing is said of it."""
    if not options.recipe and not options.changes:
        return None
    made = _recipe(options, before.recipe, before.model, torch.device(before.device))
    return _fitted(made, options, rehearsal)[0]


def _fitted(made: Recipe, options: TrainingOptions, rehearsal: Rehearsal) -> tuple[Recipe, Window]:
    """A recipe with a tile that the network takes, and the window of it; a tile that is given is left as it is."""
    if "tile" not in (options.changes or {}) and not isinstance(options.recipe, Recipe):
        made = replace(made, tile=rehearsal.nearest(made.tile))
    window, least = rehearsal.require(made.tile), OBJECTIVES[made.loss].least
    if window.size < least:
        raise GeometryError(f"the loss {made.loss} needs outputs of at least {least} px, a tile of {made.tile} gives "
                            f"{window.size}: train on larger tiles (--tile)")
    return made, window


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported: Callable[[], bool] = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and supported()


def _begin_with(module: nn.Module, init: Any, settings: Settings) -> Settings:
    """Give the network other initial weights, which bring their normalisation along."""
    if init is None:
        return settings
    card = begin_with(module, settings.model, Path(init))
    if card is not None and card.normalisation is not None:
        settings = replace(settings, normalisation=card.normalisation)
    return replace(settings, init=file_hash(Path(init)))
