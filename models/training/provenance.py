"""What a weights file says about how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tiler.models.training.settings import Settings
from tiler.models.weights import WeightsCard


def card_of(settings: Settings, trained_on: int, best: Mapping[str, float] | None, licence: str) -> WeightsCard:
    """The card of weights trained on that many slices; ``best`` are their validation scores."""
    return WeightsCard(settings.model, settings.arguments, settings.classes, settings.normalisation,
                       _sentence(settings, trained_on) + _details(settings, best), licence)


def _sentence(settings: Settings, trained_on: int) -> str:
    recipe, held_out = settings.recipe, ""
    if settings.validate is not None:
        held_out = f", validated on slices {settings.validate[0]} to {settings.validate[1] - 1}"
    return (f"{trained_on} annotated slices{held_out}; recipe {recipe.name}, {settings.steps} steps of "
            f"{recipe.batch} tiles of {recipe.tile} px; tiler {settings.versions['tiler']}, torch "
            f"{settings.versions['torch']}. ")


def _details(settings: Settings, best: Mapping[str, float] | None) -> str:
    text = f"Settings: {json.dumps(settings.to_json(), sort_keys=True)}."
    return text if best is None else f"{text} Validation: {json.dumps(dict(best))}."
