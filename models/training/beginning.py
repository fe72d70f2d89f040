"""Initial weights from a file, in place of random ones."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from tiler.errors import WeightsError
from tiler.models.loading.weights import WeightsCard, load_into, read_card
from tiler.models.zoo import registry


def begin_with(module: nn.Module, model: str, path: Path) -> WeightsCard | None:
    """Give a registered network the values of a file, and return the file's card.

    The weights of another registered network of the same class fill what both have: an FCN-16s begins with an
    FCN-32s so, its new score layer as it is.

    Raises
    ------
    WeightsError
        If the file cannot be read, or holds something else.
    """
    try:
        card = read_card(path)
        if card is not None and _is_sibling(card, model):
            _load_shared(module, path, card)
        else:
            load_into(module, path)
    except WeightsError as error:
        # Weights are read for every command; to this one they come by another option.
        raise WeightsError(re.sub(r"\(--weights[^)]*\)", "(--init)", str(error))) from error
    return card


def _is_sibling(card: WeightsCard, model: str) -> bool:
    """Whether weights are those of another registered network of the same class."""
    if card.architecture == model or card.architecture not in registry.names():
        return False
    return registry.describe(card.architecture).factory == registry.describe(model).factory


@torch.no_grad()
def _load_shared(module: nn.Module, path: Path, card: WeightsCard) -> None:
    found, ours = load_file(path), module.state_dict()
    parameters = {name for name, _ in module.named_parameters()}
    for name, value in found.items():
        fits = name in ours and ours[name].shape == value.shape
        if fits:
            ours[name].copy_(value)
        elif name in parameters or name not in ours:  # kernels of interpolation differ, and are no parameters
            raise WeightsError(f"{path} are weights of {card.architecture} {dict(card.arguments)}, whose {name} does "
                               f"not fit the network that is to be trained (--init)")
