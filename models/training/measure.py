"""How many steps a run can do in a given time."""

from __future__ import annotations

import copy
import time

from tiler.models.training.listening import SilentTraining
from tiler.models.training.run import Run

WARM, MEASURED = 2, 4
"""Steps before the clock starts, and on the clock."""


def steps_in(seconds: float, run: Run) -> int:
    """Number of steps, at least one, from a short measurement on a copy of the run; validation is not counted."""
    trial = Run(run.settings, copy.deepcopy(run.module), run.sampler, [], licence=run.licence, files=run.files,
                listener=SilentTraining(), checkpoint_seconds=float("inf"))
    with trial.session():
        for step in range(WARM):
            trial.advance(run.sampler(step))
        begun = time.monotonic()
        for step in range(WARM, WARM + MEASURED):
            trial.advance(run.sampler(step))
        return max(1, int(seconds * MEASURED / (time.monotonic() - begun)))
