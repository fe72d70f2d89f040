"""Description of the training data, from their own metadata, for the card of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiler.jobs.kind_of_data import contrast_of
from tiler.models.training.data import Slice
from tiler.ports import TrainedOn
from tiler.ports.units import nanometres
from tiler.sources import open_source

LOOKED_AT = 8
"""Number of slices whose contrast is measured."""


def kind_of_data(images: Sequence[Any], slices: Sequence[Slice]) -> TrainedOn:
    """The voxel size that all stacks of images state, and whether thin structures are dark or bright in all slices.

    Parameters
    ----------
    images
        The stacks, as given to `tiler.models.training.train`.
    slices
        Their slices.
    """
    sizes = {nanometres(open_source(stack).calibration) for stack in images}
    step = -(-len(slices) // LOOKED_AT)
    return TrainedOn(sizes.pop() if len(sizes) == 1 else None,
                     contrast_of([each.image[0] for each in slices[::step]]))
