"""Networks from names, factories, files and modules, in a form that another process can build again."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError, WeightsError
from tiler.models import registry
from tiler.models.factories import architecture_hash, import_source, source_hash
from tiler.models.recipes import FactoryRecipe, InstanceRecipe, Recipe, RegisteredRecipe, ScriptRecipe
from tiler.models.weights import Normalisation, WeightsCard, check_fits, file_hash, read_card, state_hash


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network that can be built in any process.

    Parameters
    ----------
    recipe
        How to build it.
    in_channels
        Of the input.
    ndim
        Axes of the input: 2 or 3.
    classes
        Names of the output channels, None for a network that does not say.
    normalisation
        That the weights carry, None where they carry none.
    identity
        JSON that changes when the network changes.
    registered
        Whether it is one of tiler's own; others are proved before they are used.
    values
        Hash of all parameters and buffers, where no weights file fixes them.
    """

    recipe: Recipe
    in_channels: int
    ndim: int
    classes: tuple[str, ...] | None
    normalisation: Normalisation | None
    identity: Mapping[str, Any]
    registered: bool = False
    values: str | None = None

    def build(self) -> nn.Module:
        """A new copy of the network on the CPU, in evaluation mode, without gradients.

        Raises
        ------
        ModelError
            If the factory gives other values than it gave at first.
        """
        module = _frozen(self.recipe.build())
        if self.values is not None and state_hash(module.state_dict()) != self.values:
            raise ModelError(f"{self.identity['model']} gives other weights each time it is called: let the "
                             "factory load its weights, or give them as a safetensors file (--weights)")
        return module

    def meta(self) -> nn.Module:
        """The network on the meta device: shapes without values."""
        return _frozen(self.recipe.meta())


def load_model(
    model: str | Path | nn.Module, weights: str | Path | None = None, trust: bool = False
) -> LoadedModel:
    """Find a network and learn what it takes; nothing of it stays in memory.

    Parameters
    ----------
    model
        A registered name, ``package.module:factory``, ``file.py:factory``, the path of a TorchScript file, or a
        `torch.nn.Module`.
    weights
        Safetensors file; None for the bundled one of a registered name, or for what a factory returns.
    trust
        Whether the program in a TorchScript file may run.

    Raises
    ------
    ModelError
        If there is no such network, or it cannot be built.
    WeightsError
        If the weights are missing, unsafe or of another architecture.

    Notes
    -----
    The input channels and axes of a foreign network are read from its attributes ``in_channels`` and ``ndim``
    where it has them, else from the weight of the convolution that it registers first.
    """
    path = None if weights is None else Path(weights).resolve()  # another process may work elsewhere
    if isinstance(model, nn.Module):
        return _foreign(InstanceRecipe(model, path), type(model).__qualname__, path, {})
    text = str(model)
    if text in registry.names():
        return _registered(registry.describe(text), path)
    if ":" in text and (parts := text.rpartition(":"))[2].isidentifier():
        source, factory = parts[0], parts[2]
        module = import_source(source)
        if source.endswith(".py"):
            source = str(Path(source).resolve())
        name = f"{Path(source).name}:{factory}"  # the content counts, not where it lies
        return _foreign(FactoryRecipe(source, factory, path), name, path, {"source": source_hash(module)})
    if Path(text).is_file():
        return _script(Path(text), path, trust)
    if Path(text).suffix or Path(text).name != text:
        raise ModelError(f"there is no model file {text}: give a registered name ({', '.join(registry.names())}), "
                         "package.module:factory, file.py:factory or a TorchScript file (--model)")
    registry.describe(text)  # raises, naming the close matches
    raise AssertionError(text)


def _registered(entry: registry.ModelEntry, weights: Path | None) -> LoadedModel:
    path = weights or entry.weights
    if path is None:
        raise WeightsError(f"model {entry.name} has no bundled weights: give a safetensors file (--weights)")
    card = read_card(path)
    if card is None:
        raise WeightsError(f"{path} does not say which network it belongs to: save it with "
                           "tiler.models.save_weights, or give a factory as the model (--weights, --model)")
    if card.architecture != entry.name:
        raise WeightsError(f"{path} are weights of {card.architecture} {dict(card.arguments)}, the model asked "
                           f"for is {entry.name} (--weights, --model)")
    recipe = RegisteredRecipe(entry.factory, tuple(card.arguments.items()), path, file_hash(path))
    try:
        module = recipe.meta()
    except TypeError as error:
        raise WeightsError(f"{path} has arguments that {entry.name} does not take ({error}): update tiler, or use "
                           "other weights (--weights)") from error
    check_fits(path, module)
    channels, ndim = _input_of(module, entry.name)
    identity = {"model": entry.name, "arguments": dict(card.arguments), "weights": recipe.sha256}
    return LoadedModel(recipe, channels, ndim, card.classes, card.normalisation, identity, registered=True)


def _foreign(recipe: Recipe, name: str, weights: Path | None, extra: Mapping[str, Any]) -> LoadedModel:
    module = recipe.build()
    card: WeightsCard | None = read_card(weights) if weights else None
    values = state_hash(module.state_dict())
    identity = {"model": name, "architecture": architecture_hash(module), "values": values, **extra}
    channels, ndim = _input_of(module, name)
    classes, scaling = (card.classes, card.normalisation) if card else (None, None)
    return LoadedModel(recipe, channels, ndim, classes, scaling, identity, values=values)


def _script(path: Path, weights: Path | None, trust: bool) -> LoadedModel:
    if path.suffix == ".safetensors":
        raise ModelError(f"{path} holds weights, not a network: give it as --weights, with --model NAME")
    try:
        with zipfile.ZipFile(path) as archive:
            code = [name for name in archive.namelist() if "/code/" in name and name.endswith(".py")]
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelError(f"{path} is no TorchScript file ({error}); a Python file needs its factory: "
                         "file.py:factory (--model)") from error
    if not code:
        raise ModelError(f"{path} is a torch archive without a program (a state dict?): save it as safetensors "
                         "and give it as --weights, with the network as --model")
    if not trust:
        raise ModelError(f"{path} is a TorchScript program: loading it would run its pickled objects and "
                         f"{len(code)} source files, such as {code[0]}; if you trust who made it, say --trust")
    if weights is not None:
        raise ModelError(f"{path} carries its own weights: leave out --weights {weights}")
    return _foreign(ScriptRecipe(path.resolve()), path.name, None, {"source": file_hash(path)})


def _frozen(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():  # one by one, which script modules allow
        parameter.requires_grad_(False)
    return module.eval()


def _input_of(module: nn.Module, name: str) -> tuple[int, int]:
    """Channels and axes of the input."""
    first = next((layer for layer in module.modules() if _is_convolution(layer)), None)
    channels = getattr(module, "in_channels", None)
    ndim = getattr(module, "ndim", None)
    if first is None and (channels is None or ndim is None):
        raise ModelError(f"{name} has no convolution that tells its input channels and axes: give the module "
                         "attributes in_channels and ndim (--model)")
    if first is not None:
        channels = channels or first.weight.shape[1] * int(getattr(first, "groups", 1))
        ndim = ndim or first.weight.ndim - 2
    if ndim not in (2, 3):
        raise ModelError(f"{name} works on {ndim} axes, tiler runs networks of 2 or 3 (--model)")
    return int(channels), int(ndim)


def _is_convolution(layer: nn.Module) -> bool:
    kind = getattr(layer, "original_name", type(layer).__name__)  # a script module's own type says nothing
    weight = getattr(layer, "weight", None)
    return "Conv" in kind and "Transpose" not in kind and isinstance(weight, torch.Tensor) and weight.ndim > 2
