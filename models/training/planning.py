"""From options to settings: the network, the recipe, the number of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tiler.errors import GeometryError, ModelError
from tiler.geometry import Footprint
from tiler.models import registry
from tiler.models.devices import resolve_device
from tiler.models.probe import probe, require_exact
from tiler.models.training.data import CLASSES, Slice, normalisation_of
from tiler.models.training.options import TrainingOptions, parse_slices
from tiler.models.training.recipes import Recipe, recipe
from tiler.models.training.settings import Settings
from tiler.models.weights import file_hash, load_into, read_card
from tiler.version import __version__

DEFAULT_STEPS = 5000
VALIDATIONS = 20
"""In a run that does not say how often."""


@dataclass(frozen=True)
class Prepared:
    """A run before its first step: settings with nothing left open but the number of steps, and its network."""

    settings: Settings
    module: nn.Module


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
        If there is no such network.
    PlanError
        If the recipe is impossible.
    """
    device = resolve_device(options.device)
    chosen = _recipe(options, device)
    seed = options.seed or 0
    name = options.model or "unet"
    arguments = {
        "in_channels": len(slices[0].image), "classes": CLASSES, "base": options.base or 32,
        "depth": options.depth or 4, "batch_norm": chosen.batch_norm, "dropout": chosen.dropout,
    }
    module = build(name, arguments, seed)
    footprint_of(module, chosen.tile)
    steps = options.steps or DEFAULT_STEPS
    settings = Settings(
        model=name, arguments=dict(module.arguments), classes=options.classes or ("background", "object"),
        recipe=chosen, steps=steps, validate=parse_slices(options.validate),
        validate_every=options.validate_every or share_of(steps), seed=seed,
        threads=options.threads or torch.get_num_threads(), device=str(device),
        normalisation=normalisation_of(training), data=data, init=None,
        versions={"tiler": __version__, "torch": torch.__version__})
    return Prepared(_begin_with(module, options.init, settings), module)


def prepare_again(options: TrainingOptions, before: Settings, done: int, data: str) -> Prepared:
    """The settings of a run that goes on: those it had; what is given explicitly must be the same.

    Raises
    ------
    PlanChangedError
        If the data or an option differ.
    PlanError
        If the number of steps can no longer be changed.
    """
    given: dict[str, Any] = {
        "model": options.model, "validate": parse_slices(options.validate), "seed": options.seed,
        "threads": options.threads, "classes": options.classes, "steps": options.steps,
        "validate_every": options.validate_every,
        "device": None if options.device == "auto" else str(resolve_device(options.device)),
        "recipe": _recipe(options, torch.device(before.device)) if options.recipe or options.changes else None,
        "init": None if options.init is None else file_hash(Path(options.init)),
    }
    shape = {name: value for name in ("base", "depth") if (value := getattr(options, name)) is not None}
    known = {name: value for name, value in given.items() if value is not None}
    wanted = replace(before, data=data, arguments={**before.arguments, **shape}, **known)
    settings = before.going_on_as(wanted, done)
    return Prepared(settings, build(settings.model, settings.arguments, settings.seed))


def share_of(steps: int) -> int:
    """Steps between two validations."""
    return -(-steps // VALIDATIONS)


def build(name: str, arguments: dict[str, Any] | Any, seed: int) -> nn.Module:
    """A registered network with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            module: nn.Module = registry.build(name, **arguments)
        except TypeError as error:
            raise ModelError(f"{name} cannot be trained by tiler: {error} (--model)") from error
    return module


def footprint_of(module: nn.Module, tile: int) -> Footprint:
    """What the network needs around a pixel.

    Raises
    ------
    GeometryError
        If the tile is not legal.
    """
    footprint = require_exact(probe(module, int(module.arguments["in_channels"]), 2, prove=False))
    shape = (1, tile, tile)
    if not footprint.admits(shape):
        below, above = (sizes[1] for sizes in footprint.nearest(shape))
        raise GeometryError(f"tile {tile} does not fit the network: the nearest legal tiles are {below} and {above} "
                            "(--tile)")
    return footprint


def _recipe(options: TrainingOptions, device: torch.device) -> Recipe:
    """The recipe with its changes, its precision settled."""
    made = recipe(options.recipe or "default", **(options.changes or {}))
    if made.precision == "auto":
        made = replace(made, precision="bfloat16" if computes_in_bfloat16(device) else "float32")
    return made


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
    path = Path(init)
    load_into(module, path)
    card = read_card(path)
    if card is not None and card.normalisation is not None:
        settings = replace(settings, normalisation=card.normalisation)
    return replace(settings, init=file_hash(path))
