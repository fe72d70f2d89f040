"""Open networks from names, factories, files and modules, in a form that another process can rebuild."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from tiler.errors import ModelError, WeightsError
from tiler.models.loading.build_recipes import FactoryRecipe, InstanceRecipe, RegisteredRecipe, ReturnedRecipe
from tiler.models.loading.folders import opener_of
from tiler.models.loading.foreign import open_file
from tiler.models.loading.libraries import LIBRARIES, find_network, package_version
from tiler.models.loading.loaded_model import LoadedModel, foreign, input_of
from tiler.models.loading.packages import is_package
from tiler.models.loading.packages.loading import load_package
from tiler.models.loading.user_code import import_source, source_hash
from tiler.models.loading.weights import check_fits, file_hash, read_card
from tiler.models.zoo import registry
from tiler.ports import PREDICTOR, missing_in

__all__ = ["LoadedModel", "load_model"]

log = logging.getLogger(__name__)


def load_model(
    model: str | Path | nn.Module, weights: str | Path | None = None, trust: bool = False,
    arguments: Mapping[str, Any] | None = None, returns: str | int | None = None
) -> LoadedModel:
    """Find a network and the input it takes, without keeping the network in memory.

    Parameters
    ----------
    model
        A registered name, ``package.module:factory``, ``file.py:factory``, a network of a library (``smp:Unet``,
        ``monai:DynUNet``, ``torchvision:fcn_resnet50``), the path of a TorchScript, ONNX or ``.pt2`` file, of a
        BioImage.IO package (``.zip``, folder, or yaml), of a results folder of nnU-Net, of a folder of
        ``save_pretrained`` of segmentation_models_pytorch or of a MONAI bundle, or a `torch.nn.Module`.
    weights
        Safetensors file, or the name of bundled weights; None means those of the registered name, or the values that
        a factory returns. For a package, which of its weights to use.
    trust
        Whether code inside a model file may run.
    arguments
        Arguments of the factory; None means those stated by the weights, if any.
    returns
        For a network with several outputs, the name or number of the one to use.

    Raises
    ------
    ModelError
        If the network does not exist, or cannot be built.
    WeightsError
        If the weights are missing, unsafe or of another architecture.

    Notes
    -----
    The input channels and axes of a foreign network are read from its attributes ``in_channels`` and ``ndim``
    if it has them, else from the weight of the convolution that it registers first.
    """
    output = None if returns is None else str(returns)
    path = _weights_path(model, weights)
    if isinstance(model, nn.Module):
        _refuse_arguments(arguments, "a module that is built already")
        return foreign(InstanceRecipe(model, path, output), type(model).__qualname__, path, _stated({}, output))
    if not isinstance(model, (str, Path)):
        raise ModelError(_no_model(model))
    text = str(model)
    if not text:
        raise ModelError("the name of the model is empty: give a registered name (tiler models), or a file",
                         option="model")
    if ":" in text and (parts := text.rpartition(":"))[2].isidentifier():
        given = arguments or _arguments_in(path)
        return _from_factory(FactoryRecipe(parts[0], parts[2], path, tuple(as_json(given).items()), output))
    _refuse_arguments(arguments, f"{text}, whose file says how it is built")
    loaded = _named(text, weights, path, trust)
    if output is None:
        return loaded
    return replace(loaded, recipe=ReturnedRecipe(loaded.recipe, output), identity=_stated(loaded.identity, output),
                   values=None)


def _named(text: str, weights: str | Path | None, path: Path | None, trust: bool) -> LoadedModel:
    """Load a registered network, or one from a file or a folder."""
    if text in registry.names():
        return _registered(registry.describe(text), path)
    if opener := opener_of(Path(text)):
        return opener(Path(text).resolve(), None if weights is None else str(weights), trust)
    if is_package(Path(text)):
        return load_package(Path(text), None if weights is None else str(weights), trust)
    if Path(text).is_file():
        if path is not None:
            raise ModelError(f"{text} carries its own weights: leave out `weights={weights}`")
        return open_file(Path(text), trust)
    if Path(text).suffix or Path(text).name != text:
        raise ModelError(f"there is no model file {text}: give a registered name ({', '.join(registry.names())}), "
                         "package.module:factory, file.py:factory, or a TorchScript, ONNX, .pt2 or BioImage.IO package",
                         option="model")
    registry.describe(text)  # raises, naming the close matches
    raise AssertionError(text)


def _from_factory(recipe: FactoryRecipe) -> LoadedModel:
    """Load the network that a factory of the user or of a library builds."""
    if recipe.source in LIBRARIES:
        return _of_library(recipe)
    module = import_source(recipe.source)
    if recipe.source.endswith(".py"):
        recipe = replace(recipe, source=str(Path(recipe.source).resolve()))
    name = f"{Path(recipe.source).name}:{recipe.attribute}"  # the content counts, not its location
    return foreign(recipe, name, recipe.weights, _stated({"source": source_hash(module)}, recipe.returns))


def _arguments_in(weights: Path | None) -> Mapping[str, Any]:
    """The arguments of the factory in training, as stated by the weights."""
    card = None if weights is None else read_card(weights)
    return {} if card is None else card.arguments


def _of_library(recipe: FactoryRecipe) -> LoadedModel:
    found, name = find_network(recipe.source, recipe.attribute), f"{recipe.source}:{recipe.attribute}"
    recipe = replace(recipe, returns=recipe.returns or found.returns)
    if recipe.weights is None and not found.trained(dict(recipe.arguments)):
        log.warning("the values of %s are random: what it says means nothing until it is given the weights that it was "
                    "trained to (`weights`)", name)
    version = f"{found.module.partition('.')[0]} {package_version(found.module)}"
    return foreign(recipe, name, recipe.weights, _stated({"source": version}, recipe.returns))


def as_json(value: Any) -> Any:
    """Replace tuples by lists, as a resumed run reads them, because networks may keep their arguments."""
    if isinstance(value, Mapping):
        return {name: as_json(each) for name, each in value.items()}
    return [as_json(each) for each in value] if isinstance(value, (tuple, list)) else value


def _stated(identity: Mapping[str, Any], returns: str | None) -> dict[str, Any]:
    return {**identity, **({} if returns is None else {"returns": returns})}


def _refuse_arguments(arguments: Mapping[str, Any] | None, what: str) -> None:
    if arguments:
        raise ModelError(f"{what}, takes no {', '.join(arguments)}: arguments are for factories and networks of "
                         "libraries", option="model_args")


def _no_model(candidate: object) -> str:
    """Explain why an object is not a model: it is not a name, a file, a module or a complete predictor."""
    name, lacks = type(candidate).__name__, missing_in(candidate)
    if len(lacks) > len(PREDICTOR) // 2:
        return (f"{name} is neither a model's name, a file, a torch.nn.Module nor a predictor (tiler.ports.Predictor): "
                "give one of these (`model`)")
    return (f"{name} is no predictor: it lacks {' and '.join(lacks)}, which every tiler.ports.Predictor has; "
            "tiler.testing.predictors.PredictorConformance tests one (`model`)")


def _weights_path(model: object, weights: str | Path | None) -> Path | None:
    """The user's weights file as an absolute path, because another process may have another working directory."""
    if weights is None or (isinstance(model, (str, Path)) and is_package(Path(model))):
        return None  # a package names its own weights
    return registry.weights_file(weights).resolve()


def _registered(entry: registry.ModelEntry, weights: Path | None) -> LoadedModel:
    path = weights or entry.weights
    if path is None:
        raise WeightsError(f"model {entry.name} has no bundled weights: give a safetensors file", option="weights")
    card = read_card(path)
    if card is None:
        raise WeightsError(f"{path} does not say how {entry.name} was built, as files of tiler train do: give "
                           "weights of another program with their own network, such as `model=file.py:factory` or "
                           "smp:Unet, or save them with tiler.models.save_weights", option="weights")
    if card.architecture != entry.name:
        raise WeightsError(f"{path} are weights of {card.architecture} {dict(card.arguments)}, the model asked "
                           f"for is {entry.name}", option="weights")
    recipe = RegisteredRecipe(entry.factory, tuple(card.arguments.items()), path, file_hash(path))
    try:
        module = recipe.meta()
    except TypeError as error:
        raise WeightsError(f"{path} has arguments that {entry.name} does not take ({error}): update tiler, or use "
                           "other weights", option="weights") from error
    check_fits(path, module)
    channels, ndim = input_of(module, entry.name)
    identity = {"model": entry.name, "arguments": dict(card.arguments), "weights": recipe.sha256}
    return LoadedModel(recipe, channels, ndim, card.classes, card.normalisation, identity, registered=True,
                       trained_on=card.trained_on)
