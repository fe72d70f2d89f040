"""Validation: the engine itself on held-out slices, scored by the ISBI-2012 protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tiler.api import plan, segment
from tiler.errors import PlanError, TilerError
from tiler.metrics import Isbi2012
from tiler.models.training.data import Slice
from tiler.models.zoo.registry import describe

CHOSEN_BY = "v_rand_thinned"
"""The score, higher being better, by which the best weights are chosen."""
SCORES = ("v_rand_thinned", "v_info_thinned", "pixel_error", "rand_error_2012", "warping_min_splits_mergers_r20")


def validate(weights: Path, model: str, slices: Sequence[Slice], device: str, threads: int) -> dict[str, float]:
    """Scores of a weights file, by name; see `tiler.metrics.Isbi2012Result`.

    Parameters
    ----------
    weights
        To score.
    model
        Registered name of the network.
    slices
        Their images are segmented slice by slice, in float32, without averaging.
    device, threads
        To run on.
    """
    scores = Isbi2012()
    for item in slices:
        found = segment(item.image[:, None], model, weights=weights, axes="czyx", device=device, threads=threads)
        scores.add(np.asarray(found).reshape(item.classes.shape), item.classes)
    headline = scores.result().headline()
    return {name: float(headline[name]) for name in SCORES}


def require_validation(weights: Path, model: str, item: Slice, device: str, threads: int) -> None:
    """Refuse a network that the engine does not run, before anything is trained.

    Parameters
    ----------
    weights
        Of the network, trained or not.
    model
        Its registered name.
    item
        A slice to validate on; nothing of it is computed.
    device, threads
        To run on.

    Raises
    ------
    PlanError
        With what the engine says.
    """
    if describe(model).exactness == "WHOLE":
        raise PlanError(f"{model} cannot be validated: it says what a whole image shows, which scores of segmentation "
                        "do not measure; train without (--validate)")
    try:
        plan(item.image[:, None], model, weights=weights, axes="czyx", device=device, threads=threads)
    except TilerError as error:
        raise PlanError(f"{model} cannot be validated: {error}; train without (--validate)") from error
