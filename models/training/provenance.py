"""What a weights file says about how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from tiler.models.training.settings import Settings


def describe_run(settings: Settings, trained_on: int) -> str:
    """A sentence, and the settings as JSON."""
    recipe = settings.recipe
    held_out = ""
    if settings.validate is not None:
        held_out = f", validated on slices {settings.validate[0]} to {settings.validate[1] - 1}"
    return (f"{trained_on} annotated slices{held_out}; recipe {recipe.name}, {settings.steps} steps of "
            f"{recipe.batch} tiles of {recipe.tile} px; tiler {settings.versions['tiler']}, torch "
            f"{settings.versions['torch']}. Settings: {json.dumps(asdict(settings), sort_keys=True)}. ")


def describe_scores(best: Mapping[str, float] | None) -> str:
    """The validation scores of the weights."""
    return "" if best is None else f"Validation: {json.dumps(dict(best))}."
