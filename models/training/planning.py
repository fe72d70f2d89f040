"""From options to settings: the network, the recipe, the number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError, PlanError
from tiler.models.inference.devices import resolve_device
from tiler.models.loading.weights import Normalisation, WeightsCard
from tiler.models.predictor.scaling import fixed_scaling
from tiler.models.training.beginning import Start, arguments_in, begin_with, start_of
from tiler.models.training.catalogue import own_recipe
from tiler.models.training.data import Slice, normalisation_of
from tiler.models.training.freezing import freeze
from tiler.models.training.networks import Network, arguments_of, build, is_own, own_network
from tiler.models.training.options import TrainingOptions, parse_slices
from tiler.models.training.own_code import hash_of, located
from tiler.models.training.recipe_choice import changes_of, fitted, settled
from tiler.models.training.recipes import Recipe
from tiler.models.training.rehearsal import Rehearsal
from tiler.models.training.settings import Settings
from tiler.models.training.tiles import Window
from tiler.models.zoo import registry
from tiler.version import __version__

DEFAULT_STEPS = 5000
VALIDATIONS = 20
"""Number of validations in a run, by default."""


@dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    Parameters
    ----------
    settings
        Complete settings, except for the number of steps.
    module
        The network with its initial weights.
    window
        Position of the network's output in a tile.
    notes
        Warnings for the user.
    """

    settings: Settings
    module: nn.Module
    window: Window
    notes: tuple[str, ...] = ()


def prepare(options: TrainingOptions, slices: Sequence[Slice], training: Sequence[Slice], data: str) -> Prepared:
    """Build the network of a new run and decide all its settings.

    Parameters
    ----------
    options
        Options of the user.
    slices, data
        All slices, and their fingerprint.
    training
        Slices to train on.

    Raises
    ------
    ModelError
        If the network does not exist, or cannot be trained in this way.
    PlanError
        If the recipe is impossible.
    """
    device, seed = resolve_device(options.device), options.seed or 0
    start = start_of(options.init)
    network, chosen = _network(options, seed, len(slices[0].image), start.card if start else None, device)
    chosen, window = fitted(chosen, options, Rehearsal(network, chosen.batch))
    notes = begin_with(network, start) if start else ()
    freeze(network.module, options.freeze)
    steps = options.steps or DEFAULT_STEPS
    settings = Settings(
        model=network.name, arguments=dict(network.arguments), classes=_class_names(options, network),
        recipe=chosen, steps=steps, validate=parse_slices(options.validate),
        validate_every=options.validate_every or share_of(steps), seed=seed,
        threads=options.threads or torch.get_num_threads(), device=str(device),
        normalisation=_normalisation(options, start, training), data=data, init=start.sha256 if start else None,
        versions={"tiler": __version__, "torch": torch.__version__}, ndim=network.ndim,
        out_channels=network.out_channels, code=_code(network, chosen), freeze=tuple(options.freeze))
    return Prepared(settings, network.module, window, notes)


def prepare_again(options: TrainingOptions, before: Settings, done: int, data: str) -> Prepared:
    """The stored settings of a resumed run, with which the options given now must agree.

    Raises
    ------
    PlanChangedError
        If the data, the user's code or an option differ.
    PlanError
        If the number of steps can no longer be changed.
    """
    network = _network_again(before)
    freeze(network.module, before.freeze)
    rehearsal = Rehearsal(network, before.recipe.batch)
    given: dict[str, Any] = {
        "model": options.model and located(options.model), "validate": parse_slices(options.validate),
        "seed": options.seed, "threads": options.threads, "classes": options.classes, "steps": options.steps,
        "validate_every": options.validate_every, "freeze": tuple(options.freeze) or None,
        "device": None if options.device == "auto" else str(resolve_device(options.device)),
        "recipe": _recipe_again(options, network, rehearsal, before),
        "normalisation": None if options.normalise is None else _given_normalisation(options.normalise),
        "init": None if (start := start_of(options.init)) is None else start.sha256,
        "code": _code(network, before.recipe),
    }
    known = {name: value for name, value in given.items() if value is not None}
    wanted = replace(before, data=data, arguments={**before.arguments, **_given(options)}, **known)
    settings = before.going_on_as(wanted, done)
    return Prepared(settings, network.module, rehearsal.require(settings.recipe.tile, settings.recipe.planes))


def _network(options: TrainingOptions, seed: int, in_channels: int, card: WeightsCard | None,
             device: torch.device) -> tuple[Network, Recipe]:
    """The network, and the recipe with the user's changes and a definite loss and precision."""
    name = located(options.model or _model_of(card))
    if is_own(name):
        network = own_network(name, {**arguments_in(card, Path(name).name), **_given(options)}, seed)
        _require_own(network, in_channels)
        return network, settled(options, own_recipe(name), network.title, device, network)
    chosen = settled(options, own_recipe(name), name, device)
    arguments = arguments_of(name, _given(options), chosen, in_channels, arguments_in(card, name))
    return Network.registered(name, build(name, arguments, seed)), chosen


def _model_of(card: WeightsCard | None) -> str:
    """The network of the initial weights; the U-Net if there are none, or they are not from tiler."""
    return card.architecture if card is not None and card.architecture in registry.names() else "unet"


def _network_again(before: Settings) -> Network:
    if is_own(before.model):
        return own_network(before.model, before.arguments, before.seed)
    return Network.registered(before.model, build(before.model, before.arguments, before.seed))


def _require_own(network: Network, in_channels: int) -> None:
    if network.in_channels != in_channels:
        raise ModelError(f"{network.title} takes {network.in_channels} channels, the images have {in_channels}",
                         option="model")


def _class_names(options: TrainingOptions, network: Network) -> tuple[str, ...]:
    """Names of background and object, or one for each output channel."""
    names = options.classes or ("background", "object")
    if network.out_channels <= 2 or len(names) == network.out_channels:
        return names
    if options.classes:
        raise PlanError(f"{network.title} gives {network.out_channels} channels, {len(names)} names were given",
                        option="classes")
    return tuple(map(str, range(network.out_channels)))


def _normalisation(options: TrainingOptions, start: Start | None, training: Sequence[Slice]) -> Normalisation:
    """The normalisation of the user, else that of the initial weights, else that of the images."""
    if options.normalise is not None:
        return _given_normalisation(options.normalise).checked(len(training[0].image))
    if start and start.card and start.card.normalisation:
        return start.card.normalisation
    return normalisation_of(training)


def _given_normalisation(rule: str | Normalisation) -> Normalisation:
    """``"MEAN,STD"`` in grey values, ``"none"`` for the grey values themselves."""
    if isinstance(rule, Normalisation):
        return rule
    made = fixed_scaling("0,1" if rule == "none" else rule)
    if made is None:
        raise PlanError(f"a normalisation for training is MEAN,STD or none, got {rule!r}", option="normalise")
    return made


def _code(network: Network, chosen: Recipe) -> dict[str, str | None]:
    """SHA-256 of each of the user's files that decide the weights."""
    named = {"loss": chosen.loss, "augmentation": chosen.augment}
    own = {what: hash_of(name.rpartition(":")[0]) for what, name in named.items() if is_own(name)}
    return {"model": network.code, **own} if is_own(network.name) else own


def _given(options: TrainingOptions) -> dict[str, Any]:
    """Arguments of the network that the user gives."""
    shape = {name: value for name in ("base", "depth") if (value := getattr(options, name)) is not None}
    return {**(options.arguments or {}), **shape}


def share_of(steps: int) -> int:
    """Steps between two validations."""
    return -(-steps // VALIDATIONS)


def _recipe_again(options: TrainingOptions, network: Network, rehearsal: Rehearsal, before: Settings) -> Recipe | None:
    """The recipe with which a run should continue; None if no option changes it."""
    if not options.recipe and not changes_of(options):
        return None
    own = network if is_own(network.name) else None
    made = settled(options, before.recipe, network.title, torch.device(before.device), own)
    return fitted(made, options, rehearsal)[0]
