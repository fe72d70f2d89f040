"""What a weights file says about how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiler.models.loading.weights import WeightsCard
from tiler.models.training.settings import Settings


def card_of(settings: Settings, trained_on: int, best: Mapping[str, float] | None, licence: str) -> WeightsCard:
    """The card of weights trained on that many slices; ``best`` are their validation scores."""
    names = settings.classes[-settings.arguments["classes"]:]  # one channel is that of the object
    return WeightsCard(settings.model, settings.arguments, names, settings.normalisation,
                       _sentence(settings, trained_on), licence, _provenance(settings, trained_on, best))


def _sentence(settings: Settings, trained_on: int) -> str:
    recipe, held_out = settings.recipe, ""
    if settings.validate is not None:
        held_out = f", validated on slices {settings.validate[0]} to {settings.validate[1] - 1}"
    return (f"{trained_on} annotated slices{held_out}; recipe {recipe.name}, loss {recipe.loss}, {settings.steps} "
            f"steps of {recipe.batch} tiles of {recipe.tile} px; tiler {settings.versions['tiler']}, torch "
            f"{settings.versions['torch']}.")


def _provenance(settings: Settings, trained_on: int, best: Mapping[str, float] | None) -> dict[str, Any]:
    """All that decided the values, and what they scored; ``data`` is the SHA-256 of images and labels."""
    known = settings.to_json()
    elsewhere = ("model", "arguments", "classes", "normalisation")
    how = {name: value for name, value in known.items() if name not in elsewhere}
    return {**how, "slices": trained_on, "validation": None if best is None else dict(best)}
