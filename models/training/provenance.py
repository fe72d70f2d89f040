"""The card of trained weights, which states how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiler.models.loading.weights import WeightsCard
from tiler.models.training.recipes import Recipe
from tiler.models.training.settings import Settings
from tiler.models.training.validation import head_of
from tiler.ports import UNSTATED, TrainedOn


@dataclass(frozen=True, slots=True)
class About:
    """Entries of a card besides the settings of a run: the licence of the weights, and the kind of data."""

    licence: str
    trained_on: TrainedOn = UNSTATED


def card_of(settings: Settings, slices: int, best: Mapping[str, float] | None, licence: str,
            trained_on: TrainedOn = UNSTATED) -> WeightsCard:
    """The card of weights trained on that many slices of that kind; ``best`` are their validation scores."""
    names = settings.classes[-settings.out_channels:]  # a single channel is the object's
    return WeightsCard(without_folder(settings.model), settings.arguments, names, settings.normalisation,
                       _sentence(settings, slices), licence, _provenance(settings, slices, best),
                       head_of(settings.out_channels), trained_on)


def without_folder(name: str) -> str:
    """``"mine.py:make"`` for ``"/home/me/mine.py:make"``: paths are private and mean nothing elsewhere."""
    return Path(name).name


def _sentence(settings: Settings, slices: int) -> str:
    recipe, held_out = settings.recipe, ""
    if settings.validate is not None:
        held_out = f", validated on slices {settings.validate[0]} to {settings.validate[1] - 1}"
    loss = without_folder(recipe.loss)
    return (f"{slices} annotated slices{held_out}; recipe {recipe.name}, loss {loss}, {settings.steps} steps of "
            f"{recipe.batch} tiles of {_tile(recipe)} px; tiler {settings.versions['tiler']}, torch "
            f"{settings.versions['torch']}.")


def _tile(recipe: Recipe) -> str:
    return f"{recipe.planes} x {recipe.tile} x {recipe.tile}" if recipe.planes else str(recipe.tile)


def _provenance(settings: Settings, slices: int, best: Mapping[str, float] | None) -> dict[str, Any]:
    """Everything that determined the weights, and their scores; ``data`` is the SHA-256 of images and labels."""
    shown = replace(settings.recipe, loss=without_folder(settings.recipe.loss),
                    augment=without_folder(settings.recipe.augment) if settings.recipe.augment else "")
    known = replace(settings, recipe=shown).to_json()
    elsewhere = ("model", "arguments", "classes", "normalisation")
    how = {name: value for name, value in known.items() if name not in elsewhere}
    return {**how, "slices": slices, "validation": None if best is None else dict(best)}
