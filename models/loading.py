"""Networks from names, factories, files and modules, in a form that another process can build again."""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.util
import inspect
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import nn

from tiler.errors import ModelError, WeightsError
from tiler.models import registry
from tiler.models.weights import (
    Normalisation,
    WeightsCard,
    check_fits,
    file_hash,
    load_into,
    read_card,
    state_hash,
)


class Recipe(Protocol):
    """Builds one network, always the same. Picklable."""

    def build(self) -> nn.Module: ...
    def meta(self) -> nn.Module:
        """The same network without its values."""
        ...


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


@dataclass(frozen=True, slots=True)
class _Registered:
    """One of tiler's networks, with the arguments that its weights carry."""

    factory: str
    arguments: tuple[tuple[str, Any], ...]
    weights: Path
    sha256: str

    def build(self) -> nn.Module:
        if file_hash(self.weights) != self.sha256:
            raise WeightsError(f"{self.weights} was changed while it was in use: start again (--weights)")
        module = self.meta()
        load_into(module, self.weights)
        return module

    def meta(self) -> nn.Module:
        with torch.device("meta"):
            module: nn.Module = registry.resolve(self.factory)(**dict(self.arguments))
        return module


@dataclass(frozen=True, slots=True)
class _Factory:
    """The user's ``package.module:factory`` or ``file.py:factory``."""

    source: str
    attribute: str
    weights: Path | None

    def build(self) -> nn.Module:
        module = _call(self.source, self.attribute)
        return _with_weights(module, self.weights)

    def meta(self) -> nn.Module:
        return self.build().to("meta")


@dataclass(frozen=True, slots=True)
class _Script:
    """A TorchScript file that the user trusts."""

    path: Path

    def build(self) -> nn.Module:
        return _load_script(self.path, "cpu")

    def meta(self) -> nn.Module:
        return _load_script(self.path, "meta")


@dataclass(frozen=True, slots=True, eq=False)
class _Instance:
    """The user's module itself; it is copied, never changed."""

    module: nn.Module
    weights: Path | None

    def build(self) -> nn.Module:
        return _with_weights(copy.deepcopy(self.module).to("cpu"), self.weights)

    def meta(self) -> nn.Module:
        return copy.deepcopy(self.module).to("meta")


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
    path = None if weights is None else Path(weights)
    if isinstance(model, nn.Module):
        return _foreign(_Instance(model, path), type(model).__qualname__, path, {})
    text = str(model)
    if text in registry.names():
        return _registered(registry.describe(text), path)
    if ":" in text and (parts := text.rpartition(":"))[2].isidentifier():
        recipe = _Factory(parts[0], parts[2], path)
        module = _import(recipe.source)
        return _foreign(recipe, text, path, {"source": _source_hash(module)})
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
    recipe = _Registered(entry.factory, tuple(card.arguments.items()), path, file_hash(path))
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
    identity = {"model": name, "values": values, **extra}
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
    return _foreign(_Script(path), path.name, None, {"source": file_hash(path)})


def _load_script(path: Path, device: str) -> nn.Module:
    with warnings.catch_warnings():
        # Deprecated in favour of torch.export, whose programs fix the tile size; there is no other loader.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            module: nn.Module = torch.jit.load(path, map_location=device)
        except RuntimeError as error:
            raise ModelError(f"{path} cannot be loaded as TorchScript: {_first_line(error)} (--model)") from error
    return module


def _frozen(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():  # one by one, which script modules allow
        parameter.requires_grad_(False)
    return module.eval()


def _with_weights(module: nn.Module, weights: Path | None) -> nn.Module:
    if weights is not None:
        load_into(module, weights)
    return module


def _call(source: str, attribute: str) -> nn.Module:
    made = getattr(_import(source), attribute, None)
    name = f"{source}:{attribute}"
    if made is None:
        raise ModelError(f"{source} has no {attribute!r}: name the function or class that builds the network "
                         "(--model)")
    if not isinstance(made, nn.Module):
        made = _guarded(f"{name} raised", made) if callable(made) else made
    if not isinstance(made, nn.Module):
        raise ModelError(f"{name} gives a {type(made).__name__}, a torch.nn.Module is needed (--model)")
    return made


def _import(source: str) -> ModuleType:
    if not source.endswith(".py"):
        return _guarded(f"cannot import {source}:", lambda: importlib.import_module(source))
    path = Path(source)
    if not path.is_file():
        raise ModelError(f"there is no file {source} (--model)")
    return _guarded(f"{source} raised", lambda: _import_file(path.resolve()))


def _import_file(path: Path) -> ModuleType:
    """A file as a module of its own name, imported once per content; it may import its neighbours."""
    name = f"_tiler_model_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{file_hash(path)[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module


def _guarded(what: str, action: Callable[[], Any]) -> Any:
    """Run the user's code; what it raises becomes one line."""
    try:
        return action()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{what} {type(error).__name__}: {_first_line(error)} (--model)") from error


def _source_hash(module: ModuleType) -> str | None:
    try:
        source = inspect.getsourcefile(module)
    except TypeError:  # compiled into the interpreter
        return None
    return file_hash(Path(source)) if source else None


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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
