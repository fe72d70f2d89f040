"""Estimate the number of steps that a run can do in a given time."""

from __future__ import annotations

import time

from tiler.models.training.run import Run
from tiler.models.training.trial import trial_of

WARM, MEASURED = 2, 4
"""Numbers of warm-up steps and of timed steps."""


def steps_in(seconds: float, run: Run) -> int:
    """Number of steps, at least one, from a short measurement on a copy of the run; validation is not counted."""
    trial = trial_of(run)
    with trial.session():
        for step in range(WARM):
            trial.advance(run.sampler(step))
        begun = time.monotonic()
        for step in range(WARM, WARM + MEASURED):
            trial.advance(run.sampler(step))
        return max(1, int(seconds * MEASURED / (time.monotonic() - begun)))
