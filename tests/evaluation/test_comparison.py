"""Several proposals side by side: one table, and differences that are paired by slice."""

import json
import math

import numpy as np
import pytest

import tiler
from tiler.errors import PlanError
from tiler.evaluation.comparison import Comparison, Difference

RANDOM = np.random.default_rng(1)
Z, Y, X = np.mgrid[:3, :40, :40]
LABELS = ((Y % 13 > 1) & (X % 13 > 1)).astype(np.uint8)
GOOD = np.clip(LABELS * 0.8 + 0.1 + RANDOM.normal(0, 0.05, LABELS.shape), 0, 1).astype(np.float32)
POOR = np.clip(LABELS * 0.4 + 0.3 + RANDOM.normal(0, 0.3, LABELS.shape), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def compared():
    return Comparison(tuple(tiler.evaluate(each, LABELS) for each in (POOR, GOOD, POOR)))


def test_a_difference_by_hand():
    found = Difference.between([0.3, 0.5, 0.9], [0.1, 0.4, 1.0], falls=False)
    assert found.mean == pytest.approx(0.2 / 3)
    assert found.error == pytest.approx(np.std([0.2, 0.1, -0.1], ddof=1) / math.sqrt(3))
    assert (found.better, found.slices) == (2, 3)
    assert Difference.between([0.3, 0.5], [0.1, 0.6], falls=True).better == 1
    assert str(Difference.between([0.5], [0.4], falls=False)) == "+0.100000, better in 1 of 1 slices"


def test_differences_are_those_of_the_first_proposal(compared):
    better, same = compared.differences("pixel_error")
    assert better.mean < 0
    assert (better.better, better.slices) == (3, 3)
    assert (same.mean, same.error, same.better) == (0, 0, 0)


def test_the_table_has_a_column_for_each_proposal(compared):
    lines = compared.table().splitlines()
    head = next(line for line in lines if line.startswith("isbi2012"))
    assert head.split() == ["isbi2012", "[1]", "[2]", "[3]", "better"]
    row = next(line for line in lines if line.startswith("pixel_error")).split()
    assert row[1:] == [f"{each.scores['pixel_error']:.6f}" for each in compared.evaluations] + ["lower"]
    assert any(line.startswith("pixel_error, [2] - [1]: -0.") and line.endswith("better in 3 of 3 slices")
               for line in lines)
    assert [each["proposal"] for each in json.loads(compared.to_json())] == [e.proposal for e in compared.evaluations]


def test_protocols_without_slices_have_no_paired_differences():
    found = Comparison(tuple(tiler.evaluate(each, LABELS, "semantic") for each in (LABELS, 1 - LABELS)))
    assert found.differences("mean_iou") == []
    assert "mean_iou" in found.table()


def test_proposals_of_other_regions_are_not_compared(compared):
    part = tiler.evaluate(GOOD, LABELS, slices="0:2")
    with pytest.raises(PlanError, match="only by the same labels, protocol and region"):
        Comparison((compared.evaluations[0], part))
