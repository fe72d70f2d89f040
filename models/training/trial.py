"""Trials before the first step."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from tiler.errors import PlanError
from tiler.models.training.listening import SilentTraining
from tiler.models.training.networks import is_own
from tiler.models.training.run import Run
from tiler.models.zoo.blocks import Supervised

SECONDS, STEPS = 60.0, 200
"""Longest time in seconds, and largest number of steps, to spend on one tile."""
LEARNT = 0.5
"""Share of the first loss, below which a tile counts as learnt."""


def rehearse_own(run: Run) -> None:
    """Call the user's own loss and augmentation once, to find their errors before the first step.

    Raises
    ------
    ModelError
        If they raise, or return invalid values; the message says which.
    """
    if not (run.recipe.augment or is_own(run.recipe.loss)):
        return
    tiles = run.sampler(0)
    scores = torch.zeros(len(tiles.images), run.settings.out_channels, *tiles.classes.shape[1:], requires_grad=True)
    run.objective.of(Supervised((scores,), None), torch.from_numpy(tiles.classes).to(torch.int64),
                     torch.from_numpy(tiles.weights))


def trial_of(run: Run) -> Run:
    """A copy of a run, with a constant learning rate and without validation, that does not affect the run."""
    settings = replace(run.settings, recipe=replace(run.recipe, warm_up=0, decay=0.0, frozen_norm=0.0))
    return Run(settings, copy.deepcopy(run.module), run.sampler, [], about=run.about, files=run.files,
               listener=SilentTraining(), checkpoint_seconds=float("inf"))


def overfit(run: Run, say: Callable[[str], None]) -> None:
    """Train a copy of a run on the tiles of its first step again and again.

    A network that cannot learn one tile by heart learns nothing from many: labels, loss and learning rate are wrong
    before any data are missing.

    Parameters
    ----------
    run
        The run, which stays unchanged.
    say
        Called with the outcome.

    Raises
    ------
    PlanError
        If the loss does not fall to half its first value within 200 steps or a minute.
    """
    trial, tiles, begun = trial_of(run), run.sampler(0), time.monotonic()
    with trial.session():
        while trial.step < STEPS and time.monotonic() - begun < SECONDS:
            trial.advance(tiles)
    first, last = trial.record.losses[0], min(trial.record.losses[-10:])
    outcome = f"the loss of one batch of tiles went from {first:.4g} to {last:.4g} in {trial.step} steps"
    if last > LEARNT * first:
        raise PlanError(f"{outcome}: the network does not learn even these by heart; look at the labels (`preview`), "
                        "try another learning_rate (`changes`) or loss (`loss`), or leave out `sanity=True`")
    say(f"{outcome}: the network can learn")
