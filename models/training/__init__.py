"""Training: from a few annotated slices to weights that `tiler.segment` takes.

Each part is usable alone; the names are imported on first use, so that nothing loads torch before it is needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiler.models.training.api import TrainingResult, train
    from tiler.models.training.augmentation import Augmentation
    from tiler.models.training.catalogue import RECIPES, own_recipe, recipe
    from tiler.models.training.cross_validation import CrossValidation, cross_validate
    from tiler.models.training.listening import SilentTraining, TrainingListener
    from tiler.models.training.objectives import OBJECTIVES, Objective, weighted_cross_entropy
    from tiler.models.training.optimisation import MovingAverage
    from tiler.models.training.options import TrainingOptions
    from tiler.models.training.recipes import Recipe
    from tiler.models.training.weight_maps import WeightMap, distance_weights, separate_touching, separation

_HOMES = {
    "Augmentation": "augmentation",
    "CrossValidation": "cross_validation",
    "MovingAverage": "optimisation",
    "OBJECTIVES": "objectives",
    "Objective": "objectives",
    "RECIPES": "catalogue",
    "Recipe": "recipes",
    "SilentTraining": "listening",
    "TrainingListener": "listening",
    "TrainingOptions": "options",
    "TrainingResult": "api",
    "WeightMap": "weight_maps",
    "cross_validate": "cross_validation",
    "distance_weights": "weight_maps",
    "own_recipe": "catalogue",
    "recipe": "catalogue",
    "separate_touching": "weight_maps",
    "separation": "weight_maps",
    "train": "api",
    "weighted_cross_entropy": "objectives",
}

__all__ = [
    "OBJECTIVES",
    "RECIPES",
    "Augmentation",
    "CrossValidation",
    "MovingAverage",
    "Objective",
    "Recipe",
    "SilentTraining",
    "TrainingListener",
    "TrainingOptions",
    "TrainingResult",
    "WeightMap",
    "cross_validate",
    "distance_weights",
    "own_recipe",
    "recipe",
    "separate_touching",
    "separation",
    "train",
    "weighted_cross_entropy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
