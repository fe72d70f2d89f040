"""A loaded model: how to build its network, the input it takes, and the properties that belong to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.geometry import Footprint
from tiler.models.aten.meta_device import without_values
from tiler.models.loading.build_recipes import Recipe
from tiler.models.loading.code_hash import architecture_hash
from tiler.models.loading.processing_steps import NO_STEPS, Measured, Steps
from tiler.models.loading.weights import Normalisation, WeightsCard, read_card, state_hash
from tiler.models.predictor.heads import Head
from tiler.ports import UNSTATED, TrainedOn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network that can be built in any process.

    Parameters
    ----------
    recipe
        How to build it.
    in_channels
        Channels of the input.
    ndim
        Spatial axes of the input: 2 or 3.
    classes
        Names of the output channels; None if unknown.
    normalisation
        Normalisation stored with the weights; None if they store none.
    identity
        JSON that changes when the network changes.
    registered
        Whether it is one of tiler's own networks; others are proved before use.
    values
        Hash of all parameters and buffers, if no weights file fixes them.
    steps
        A package's pre- and post-processing, applied voxel by voxel.
    measured
        How a package scales an input by the input's own statistics; None if it does not.
    head
        Head that belongs to the model; None if unknown.
    halo
        ``([z], y, x)`` voxels that, according to a package, must be cut off on every side; None if it states none.
    trained_on
        Kind of data that it was trained on, as far as its weights state it.
    """

    recipe: Recipe
    in_channels: int
    ndim: int
    classes: tuple[str, ...] | None
    normalisation: Normalisation | None
    identity: Mapping[str, Any]
    registered: bool = False
    values: str | None = None
    steps: Steps = NO_STEPS
    measured: Measured | None = None
    head: Head | None = None
    halo: tuple[int, ...] | None = None
    trained_on: TrainedOn = UNSTATED

    def build(self) -> nn.Module:
        """A new copy of the network on the CPU, in evaluation mode, without gradients, with its steps around it.

        Raises
        ------
        ModelError
            If the factory now returns different values than the first time.
        """
        return self.steps.around(self.bare()).eval()

    def bare(self) -> nn.Module:
        """The same without its steps, which work voxel by voxel but may remove the NaN that proofs rely on."""
        module = frozen(self.recipe.build())
        if self.values is not None and state_hash(module.state_dict()) != self.values:
            raise ModelError(f"{self.identity['model']} gives other weights each time it is called: let the "
                             "factory load its weights, or give them as a safetensors file", option="weights")
        return module

    def meta(self) -> nn.Module:
        """The network on the meta device: shapes without values."""
        network = frozen(self.recipe.meta())
        with without_values():
            return self.steps.around(network).eval()


def foreign(
    recipe: Recipe, name: str, weights: Path | None, extra: Mapping[str, Any], takes: tuple[int, int] | None = None
) -> LoadedModel:
    """Describe a foreign network, by building it once.

    Parameters
    ----------
    recipe
        How to build it.
    name
        Name for messages.
    weights
        Weights file that holds its card.
    extra
        Further entries of its identity.
    takes
        Channels and spatial axes of its input; None reads them from the network.
    """
    module = recipe.build()
    card: WeightsCard | None = read_card(weights) if weights else None
    values = state_hash(module.state_dict())
    identity = {"model": name, "architecture": architecture_hash(module), "values": values, **extra}
    channels, ndim = takes or input_of(module, name)
    if card is None:
        return LoadedModel(recipe, channels, ndim, None, None, identity, values=values)
    head = cast(Head | None, card.head)
    return LoadedModel(recipe, channels, ndim, card.classes, card.normalisation, identity, values=values, head=head,
                       trained_on=card.trained_on)


def warn_of_halo(model: LoadedModel, footprint: Footprint) -> None:
    """Warn if a package's halo is smaller than its network needs; tiler does not use that halo."""
    if model.halo is None:
        return
    axes = footprint.axes[3 - model.ndim :]
    needed = [max(axis.low - axis.shrink_low, axis.high - axis.shrink_high) for axis in axes]
    if any(halo < least for halo, least in zip(model.halo, needed, strict=True)):
        log.warning("%s says that a halo of %s is enough, its network needs %s: tiler takes what is needed",
                    model.identity["model"], _by(model.halo), _by(needed))


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def frozen(module: nn.Module) -> nn.Module:
    """Put a network into evaluation mode, without gradients."""
    for parameter in module.parameters():  # one by one, because script modules support only that
        parameter.requires_grad_(False)
    return module.eval()


def input_of(module: nn.Module, name: str) -> tuple[int, int]:
    """Channels and axes of the input."""
    first = next((layer for layer in module.modules() if _is_convolution(layer)), None)
    channels = getattr(module, "in_channels", None)
    ndim = getattr(module, "ndim", None)
    if first is None and (channels is None or ndim is None):
        raise ModelError(f"{name} has no convolution that tells its input channels and axes: give the module "
                         "attributes in_channels and ndim", option="model")
    if first is not None:
        weight: Any = first.weight
        channels = channels or weight.shape[1] * int(getattr(first, "groups", 1))
        ndim = ndim or weight.ndim - 2
    if channels is None or ndim not in (2, 3):
        raise ModelError(f"{name} works on {ndim} axes, tiler runs networks of 2 or 3", option="model")
    return int(channels), int(ndim)


def _is_convolution(layer: nn.Module) -> bool:
    kind = getattr(layer, "original_name", type(layer).__name__)  # a script module's own type says nothing
    weight = getattr(layer, "weight", None)
    return "Conv" in kind and "Transpose" not in kind and isinstance(weight, torch.Tensor) and weight.ndim > 2
