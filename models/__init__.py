"""Everything with torch: architectures, registry, weights, footprints, predictors.

The names are imported on first use, so that the registry can be listed without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tiler.models.zoo.registry import ModelEntry, describe, names

if TYPE_CHECKING:
    from tiler.models.loading.open_model import LoadedModel, load_model
    from tiler.models.loading.weights import Normalisation, WeightsCard, read_card, save_weights
    from tiler.models.predictor.open_predictor import open_predictor
    from tiler.models.predictor.options import PredictorOptions
    from tiler.models.predictor.torch_predictor import TorchPredictor
    from tiler.models.training.api import train
    from tiler.models.training.catalogue import recipe
    from tiler.models.training.options import TrainingOptions
    from tiler.models.training.recipes import Recipe
    from tiler.models.zoo.unet import UNet

_HOMES = {
    "LoadedModel": "loading.loaded_model",
    "load_model": "loading.open_model",
    "PredictorOptions": "predictor.options",
    "TorchPredictor": "predictor.torch_predictor",
    "open_predictor": "predictor.open_predictor",
    "UNet": "zoo.unet",
    "Normalisation": "loading.weights",
    "WeightsCard": "loading.weights",
    "read_card": "loading.weights",
    "save_weights": "loading.weights",
    "train": "training.api",
    "TrainingOptions": "training.options",
    "Recipe": "training.recipes",
    "recipe": "training.catalogue",
}

__all__ = [
    "LoadedModel",
    "ModelEntry",
    "Normalisation",
    "PredictorOptions",
    "Recipe",
    "TorchPredictor",
    "TrainingOptions",
    "UNet",
    "WeightsCard",
    "describe",
    "load_model",
    "names",
    "open_predictor",
    "read_card",
    "recipe",
    "save_weights",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
