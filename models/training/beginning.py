"""Initial weights from a file or a registered name, in place of random ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from tiler.errors import WeightsError
from tiler.models.loading.weight_files import COUNTER, common_prefix, open_weights
from tiler.models.loading.weights import WeightsCard, check_fits, file_hash, load_into, read_card
from tiler.models.training.networks import Network
from tiler.models.training.rehearsal import sized
from tiler.models.zoo import registry

T = TypeVar("T")

LEAST_SHARE = 0.5
"""Share of a network's values that initial weights must provide; with less they belong to another network."""
NAMED = 3
"""Largest number of tensors that a note names one by one."""


@dataclass(frozen=True, slots=True)
class Start:
    """Weights to begin with.

    Parameters
    ----------
    path
        The file.
    sha256
        Hash of its content.
    card
        Card of the weights; None for a file of another program.
    """

    path: Path
    sha256: str
    card: WeightsCard | None


def start_of(init: str | Path | None) -> Start | None:
    """The weights that ``init`` names: a file, bundled weights, or a network that has bundled weights.

    Raises
    ------
    WeightsError
        If the weights cannot be read, or the name has none.
    """
    if init is None:
        return None
    path = _file_of(init)
    card = _as_init(lambda: read_card(path))
    return Start(path, file_hash(path), card)


def _file_of(init: str | Path) -> Path:
    if str(init) not in registry.names() or Path(init).exists():
        return registry.weights_file(init, "init")
    bundled = registry.describe(str(init)).weights
    if bundled is None:
        raise WeightsError(f"{init} has no bundled weights: give a safetensors file", option="init")
    return bundled


def arguments_in(card: WeightsCard | None, name: str) -> Mapping[str, Any]:
    """The arguments of a network, as stated by its initial weights."""
    return card.arguments if card is not None and card.architecture == name else {}


def begin_with(network: Network, start: Start) -> tuple[str, ...]:
    """Load a file into a network, and return a note on tensors that keep their random values.

    Weights of another registered network of the same class fill the tensors that both have: an FCN-16s thus begins with
    an FCN-32s, and keeps the initial values of its new score layer. Otherwise tensors of the same name and shape are
    loaded, so that a network with another head gets the body.

    Raises
    ------
    WeightsError
        If less than half of the network's values would come from the file.
    """
    if start.card is not None and _is_sibling(start.card, network.name):
        _load_shared(network.module, start.path, start.card)
        return ()
    missing = _as_init(lambda: _load_matching(network.module, start.path))
    if not missing:
        return ()
    shown = ", ".join(missing[:NAMED]) + (f" and {len(missing) - NAMED} more" if len(missing) > NAMED else "")
    return (f"{start.path.name} does not fit {len(missing)} of {len(network.module.state_dict())} tensors, which begin "
            f"at random: {shown}",)


def _as_init(read: Callable[[], T]) -> T:
    """Name ``init`` in errors of functions that read weights for all commands."""
    try:
        return read()
    except WeightsError as error:
        raise WeightsError(*error.args, option="init") from error


@torch.no_grad()
def _load_matching(module: nn.Module, path: Path) -> list[str]:
    """Load every tensor of the file that fits by name and shape; return the names of the network's other tensors."""
    ours = module.state_dict()
    wanted = {name: value for name, value in ours.items() if not name.endswith(COUNTER)}
    found = _values_in(path, wanted)
    fitting = {name for name, value in wanted.items() if name in found and found[name].shape == value.shape}
    if len(fitting) == len(wanted) == len(found):
        load_into(module, path)
        return []
    share = sum(wanted[name].numel() for name in fitting) / sum(value.numel() for value in wanted.values())
    if share < LEAST_SHARE:
        check_fits(path, module)  # raises an error that names the differences
    for name in fitting:
        wanted[name].copy_(found[name])
    return [_misfit(name, value, found.get(name)) for name, value in wanted.items() if name not in fitting]


def _values_in(path: Path, wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All tensors of a file, with names stripped of any prefix that the network's names lack."""
    with open_weights(path) as file:
        shapes = file.shapes
        prefix = common_prefix(shapes, {name: None for name in wanted if not name.endswith(COUNTER)})
        return {name.removeprefix(prefix): file.tensor(name) for name in shapes if name.startswith(prefix)}


def _misfit(name: str, ours: torch.Tensor, theirs: torch.Tensor | None) -> str:
    there = "not in the file" if theirs is None else f"{sized(tuple(theirs.shape))} in the file"
    return f"{name} ({sized(tuple(ours.shape))}, {there})"


def _is_sibling(card: WeightsCard, model: str) -> bool:
    """Whether weights belong to another registered network of the same class."""
    if card.architecture == model or not {card.architecture, model} <= set(registry.names()):
        return False
    return registry.describe(card.architecture).factory == registry.describe(model).factory


@torch.no_grad()
def _load_shared(module: nn.Module, path: Path, card: WeightsCard) -> None:
    ours = module.state_dict()
    found = _values_in(path, ours)
    parameters = {name for name, _ in module.named_parameters()}
    for name, value in found.items():
        fits = name in ours and ours[name].shape == value.shape
        if fits:
            ours[name].copy_(value)
        elif name in parameters or name not in ours:  # kernels of interpolation differ and are not parameters
            raise WeightsError(f"{path} are weights of {card.architecture} {dict(card.arguments)}, whose {name} does "
                               "not fit the network that is to be trained", option="init")
