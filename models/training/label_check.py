"""Check labels before training: are they labels, ids or classes, and do objects survive the gap between them?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tiler.errors import PlanError
from tiler.models.training.weight_maps import instances_of
from tiler.ports import Array

CALM = 0.5
"""Share of neighbouring pixels with equal values, below which values are grey values: labels have regions."""
FEW = 20
"""Largest number of values for which labels may be classes."""
LOOKED_AT = 8
"""Number of slices in which pieces are counted."""
PIECES = 3.0
"""Mean number of pieces of one value in a slice, from which on the value is considered a class."""
LOST = 0.1
"""Largest share of objects that may vanish without a warning."""


def refuse_grey_values(values: Array, grey: Array, name: str) -> None:
    """Refuse labels that change at nearly every pixel.

    Parameters
    ----------
    values
        ``(z, y, x)`` integers: the labels.
    grey
        ``(c, z, y, x)``: the images.
    name
        Name of the labels, for messages.

    Raises
    ------
    PlanError
        If the labels change so; the message suggests swapped images and labels if the images look like labels.
    """
    distinct = len(np.unique(values))
    if distinct <= 2 or calmness(values) >= CALM:
        return
    swapped = grey.shape[0] == 1 and calmness(grey[0]) >= CALM
    cause = ("the images look like labels: were the two swapped? Give IMAGES LABELS" if swapped
             else "give ids of objects, or one value for all objects and 0 for background")
    raise PlanError(f"{name} hold {distinct} values that change at {1 - calmness(values):.0%} of the pixels, as grey "
                    f"values do: {cause}")


def calmness(values: Array) -> float:
    """Share of the pixels of ``(z, y, x)`` that equal their right neighbour."""
    pairs = values[..., 1:] == values[..., :-1]
    return float(pairs.mean()) if pairs.size else 1.0


def warnings_of_ids(values: Array, parted: Array, name: str) -> Iterator[str]:
    """Warn if labels that count as ids of objects look like something else.

    Parameters
    ----------
    values
        ``(z, y, x)`` integers, as read from the file.
    parted
        The same, with background where objects touched.
    name
        Name of the labels, for messages.
    """
    ids = np.unique(values[values != 0])
    if len(ids) <= FEW and (pieces := _pieces(values)) >= PIECES:
        yield (f"{name} hold {len(ids)} values besides 0, each in {pieces:.0f} separate pieces a slice: they look like "
               "classes, and are taken for ids of objects; make them 0 and 1 if all of them are objects")
    lost = len(np.setdiff1d(ids, parted))
    if lost > LOST * len(ids):
        yield (f"{lost} of the {len(ids)} objects in {name} are so thin that nothing is left of them beside the gap "
               "between touching objects: use images of smaller pixels")


def _pieces(values: Array) -> float:
    """Mean number of connected pieces of one id in one slice."""
    pieces = [int(instances_of(layer == number).max()) for layer in values[:LOOKED_AT]
              for number in np.unique(layer[layer != 0])]
    return float(np.mean(pieces)) if pieces else 0.0
