"""Networks from names, factories, files and modules, in a form that another process can build again."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from tiler.errors import ModelError, WeightsError
from tiler.models.loading.build_recipes import FactoryRecipe, InstanceRecipe, RegisteredRecipe
from tiler.models.loading.foreign import open_file
from tiler.models.loading.loaded_model import LoadedModel, foreign, input_of
from tiler.models.loading.packages import is_package
from tiler.models.loading.packages.loading import load_package
from tiler.models.loading.user_code import import_source, source_hash
from tiler.models.loading.weights import check_fits, file_hash, read_card
from tiler.models.zoo import registry
from tiler.ports import PREDICTOR, missing_in

__all__ = ["LoadedModel", "load_model"]


def load_model(
    model: str | Path | nn.Module, weights: str | Path | None = None, trust: bool = False
) -> LoadedModel:
    """Find a network and learn what it takes; nothing of it stays in memory.

    Parameters
    ----------
    model
        A registered name, ``package.module:factory``, ``file.py:factory``, the path of a TorchScript, ONNX or
        ``.pt2`` file or of a BioImage.IO package (``.zip``, folder, or yaml), or a `torch.nn.Module`.
    weights
        Safetensors file, or the name of bundled weights; None for those of a registered name, or for what a factory
        returns. Of a package: which of its weights.
    trust
        Whether code may run that a model file brings along.

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
    path = _weights_path(model, weights)
    if isinstance(model, nn.Module):
        return foreign(InstanceRecipe(model, path), type(model).__qualname__, path, {})
    if not isinstance(model, (str, Path)):
        raise ModelError(_no_model(model))
    text = str(model)
    if not text:
        raise ModelError("the name of the model is empty: give a registered name (tiler models), or a file (--model)")
    if text in registry.names():
        return _registered(registry.describe(text), path)
    if ":" in text and (parts := text.rpartition(":"))[2].isidentifier():
        source, factory = parts[0], parts[2]
        module = import_source(source)
        if source.endswith(".py"):
            source = str(Path(source).resolve())
        name = f"{Path(source).name}:{factory}"  # the content counts, not where it lies
        return foreign(FactoryRecipe(source, factory, path), name, path, {"source": source_hash(module)})
    if is_package(Path(text)):
        return load_package(Path(text), None if weights is None else str(weights), trust)
    if Path(text).is_file():
        if path is not None:
            raise ModelError(f"{text} carries its own weights: leave out --weights {weights}")
        return open_file(Path(text), trust)
    if Path(text).suffix or Path(text).name != text:
        raise ModelError(f"there is no model file {text}: give a registered name ({', '.join(registry.names())}), "
                         "package.module:factory, file.py:factory, or a TorchScript, ONNX, .pt2 or BioImage.IO package "
                         "(--model)")
    registry.describe(text)  # raises, naming the close matches
    raise AssertionError(text)


def _no_model(candidate: object) -> str:
    """What is wrong with an object that is neither a name, a file, a module nor a whole predictor."""
    name, lacks = type(candidate).__name__, missing_in(candidate)
    if len(lacks) > len(PREDICTOR) // 2:
        return (f"{name} is neither a model's name, a file, a torch.nn.Module nor a predictor (tiler.ports.Predictor): "
                "give one of these (--model)")
    return (f"{name} is no predictor: it lacks {' and '.join(lacks)}, which every tiler.ports.Predictor has; "
            "tiler.testing.predictors.PredictorConformance tests one (--model)")


def _weights_path(model: object, weights: str | Path | None) -> Path | None:
    """The file of weights that were given, absolute because another process may work elsewhere."""
    if weights is None or (isinstance(model, (str, Path)) and is_package(Path(model))):
        return None  # a package names its own weights
    return registry.weights_file(weights).resolve()


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
    channels, ndim = input_of(module, entry.name)
    identity = {"model": entry.name, "arguments": dict(card.arguments), "weights": recipe.sha256}
    return LoadedModel(recipe, channels, ndim, card.classes, card.normalisation, identity, registered=True)
