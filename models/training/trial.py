"""What is tried out before the first step."""

from __future__ import annotations

import torch

from tiler.models.training.networks import is_own
from tiler.models.training.run import Run
from tiler.models.zoo.blocks import Supervised


def rehearse_own(run: Run) -> None:
    """Call the user's own loss and augmentation once, so that their faults show before the first step.

    Raises
    ------
    ModelError
        With what they raise, or what is wrong with what they return.
    """
    if not (run.recipe.augment or is_own(run.recipe.loss)):
        return
    tiles = run.sampler(0)
    scores = torch.zeros(len(tiles.images), run.settings.out_channels, *tiles.classes.shape[1:], requires_grad=True)
    run.objective.of(Supervised((scores,), None), torch.from_numpy(tiles.classes).to(torch.int64),
                     torch.from_numpy(tiles.weights))
