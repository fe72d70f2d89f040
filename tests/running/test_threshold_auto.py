"""`threshold="auto"`: the value that scored best when the weights were chosen, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
from standins import ProbabilityNet

import tiler
from tiler.errors import PlanError
from tiler.ports import Capabilities, TrainedOn

VOLUME = np.random.default_rng(0).integers(0, 250, (2, 37, 41), dtype=np.uint8)


class Stated(ProbabilityNet):
    """Its weights state the best threshold."""

    capabilities = Capabilities(trained_on=TrainedOn(best_threshold=0.8))


def test_the_best_threshold_of_the_weights_is_taken():
    found = tiler.segment(VOLUME, Stated(), kind="instances", threshold="auto")
    np.testing.assert_array_equal(found, tiler.segment(VOLUME, ProbabilityNet(), kind="instances", threshold=0.8))
    plan = tiler.plan(VOLUME, Stated(), kind="instances", threshold="auto")
    assert plan.essence["objects"]["threshold"] == 0.8


@pytest.mark.parametrize("function", [tiler.plan, tiler.segment])
def test_weights_that_say_nothing_are_refused(function):
    with pytest.raises(PlanError, match=r"do not say which threshold scored best: give a number"):
        function(VOLUME, ProbabilityNet(), kind="instances", threshold="auto")
    with pytest.raises(PlanError, match="is that of the class that is cut when none is named: leave out classes="):
        function(VOLUME, "unet", kind="mask", threshold="auto", classes="cell")
    with pytest.raises(PlanError, match="'autos' is not a number from 0 to 1"):
        function(VOLUME, Stated(), kind="instances", threshold="autos")


def test_a_mask_is_cut_at_the_best_threshold_of_the_bundled_weights():
    found = tiler.plan(VOLUME, "unet", kind="mask", threshold="auto")
    assert found.essence["threshold"] == 0.5
