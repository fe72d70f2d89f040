"""The recipe of a run, with the user's changes, a loss that suits the network and a legal tile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from tiler.errors import GeometryError, PlanError
from tiler.models.training.catalogue import own_loss, recipe
from tiler.models.training.networks import Network
from tiler.models.training.objectives import objective_of
from tiler.models.training.options import TrainingOptions
from tiler.models.training.own_code import located
from tiler.models.training.recipes import Recipe
from tiler.models.training.rehearsal import Rehearsal
from tiler.models.training.tiles import Window
from tiler.models.training.weight_maps import WeightMap
from tiler.models.zoo import registry


def settled(options: TrainingOptions, otherwise: Recipe, title: str, device: torch.device,
            own: Network | None = None) -> Recipe:
    """The recipe with the user's changes and a definite loss and precision.

    Parameters
    ----------
    title
        Name of the network.
    own
        The network, if it is the user's own.
    """
    made = recipe(options.recipe or otherwise, **changes_of(options))
    made = replace(made, loss=located(made.loss), augment=located(made.augment))
    if made.loss == "auto":
        made = replace(made, loss=loss_for(own) if own else own_loss(title))
    if made.precision == "auto":
        made = replace(made, precision="bfloat16" if computes_in_bfloat16(device) else "float32")
    _require_fitting_loss(made, title, own)
    return made


def changes_of(options: TrainingOptions) -> dict[str, Any]:
    """Every field of the recipe that the user changes."""
    named = {"loss": options.loss, "augment": options.augment}
    return {**(options.changes or {}), **{name: value for name, value in named.items() if value is not None}}


def loss_for(network: Network) -> str:
    """The loss of a user's own network, chosen by its number of output channels.

    Raises
    ------
    PlanError
        If the network has more than two channels, for which tiler has no loss.
    """
    losses = {1: "bce-dice", 2: "cross-entropy"}
    if network.out_channels not in losses:
        raise PlanError(f"{network.title} gives {network.out_channels} channels, tiler's losses are for 1 (object) "
                        "or 2 (background and object): give a loss of your own (`loss=file.py:function`)")
    return losses[network.out_channels]


def _require_fitting_loss(made: Recipe, title: str, own: Network | None) -> None:
    objective = objective_of(made.loss)
    if made.weights != WeightMap() and not objective.weighted:
        raise PlanError(f"the loss {made.loss} gives pixels no weights: leave out `weight_map` and `balance`, or take "
                        "another one (`loss=cross-entropy`)")
    if own is None and objective.guides != (registry.describe(title).exactness == "WHOLE"):
        raise PlanError(f"{title} is not trained by {made.loss}: guided-attention is for classifiers of whole images, "
                        f"all other losses are for networks that segment; its own is {own_loss(title)}", option="loss")
    if own is not None and (objective.guides or objective.channels not in (None, own.out_channels)):
        raise PlanError(f"{title} gives {own.out_channels} channels, the loss {made.loss} needs {objective.channels}: "
                        "take another loss", option="loss")


def fitted(made: Recipe, options: TrainingOptions, rehearsal: Rehearsal) -> tuple[Recipe, Window]:
    """A recipe with a legal tile, and the window of that tile. A tile given by the user stays unchanged."""
    objective, ndim = objective_of(made.loss), rehearsal.network.ndim
    if ndim == 2 and made.planes:
        raise GeometryError(f"{rehearsal.network.title} takes slices, a tile of {made.planes} planes was asked for: "
                            "give the size of a tile as one number", option="tile")
    if ndim == 3 and objective.planar:
        raise PlanError(f"the loss {made.loss} is for networks of slices, {rehearsal.network.title} takes volumes: "
                        "take another loss", option="loss")
    fixed = "tile" in (options.changes or {}) or isinstance(options.recipe, Recipe)
    tile, planes = rehearsal.fitted(made.tile, made.planes, fixed=fixed)
    made = replace(made, tile=tile, planes=planes)
    window, least = rehearsal.require(tile, planes), objective.least
    if min(window.size) < least:
        raise GeometryError(f"the loss {made.loss} needs outputs of at least {least} px, a tile of {made.tile} gives "
                            f"{window.size[-1]}: train on larger tiles", option="tile")
    return made, window


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the device computes faster in bfloat16 than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported: Callable[[], bool] = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device.type == "cpu" and supported()
