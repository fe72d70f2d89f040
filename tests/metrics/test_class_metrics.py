"""Metrics of classes and of pixels in two classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tiler.errors import PlanError
from tiler.metrics.pixel import pixel_counts, pixel_error
from tiler.metrics.semantic import ConfusionMatrix, SemanticResult
from tiler.metrics.statistics import Counts

TRUE = np.array([[0, 0, 0, 1], [1, 1, 2, 255]])
FOUND = np.array([[0, 0, 1, 1], [1, 2, 2, 0]])


def test_the_four_fcn_metrics_by_hand() -> None:
    matrix = ConfusionMatrix.of(FOUND, TRUE, classes=3, ignore=255)
    assert matrix.counts.tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 1]]
    assert matrix.pixel_accuracy == pytest.approx(5 / 7)
    assert matrix.mean_accuracy == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert matrix.iou.tolist() == pytest.approx([2 / 3, 2 / 4, 1 / 2])
    assert matrix.mean_iou == pytest.approx((2 / 3 + 1 / 2 + 1 / 2) / 3)
    assert matrix.frequency_weighted_iou == pytest.approx((3 * 2 / 3 + 3 / 2 + 1 / 2) / 7)
    assert matrix.dice.tolist() == pytest.approx([4 / 5, 4 / 6, 2 / 3])


def test_a_class_that_is_nowhere_is_left_out_and_one_only_proposed_counts_as_wrong() -> None:
    matrix = ConfusionMatrix.of(np.array([0, 0, 1]), np.array([0, 0, 0]), classes=3)
    assert matrix.iou[0] == pytest.approx(2 / 3)
    assert matrix.iou[1] == 0
    assert math.isnan(matrix.iou[2])
    assert matrix.mean_iou == pytest.approx(1 / 3)
    assert matrix.mean_accuracy == pytest.approx(2 / 3), "mean accuracy knows the classes of the labels only"


@given(arrays(np.uint8, (2, 24), elements=st.integers(0, 3)), st.integers(0, 24))
@settings(deadline=None, max_examples=60)
def test_a_confusion_matrix_adds_up_and_dice_follows_from_iou(both: np.ndarray, cut: int) -> None:
    found, true = both
    whole = ConfusionMatrix.of(found, true, 4)
    if 0 < cut < 24:
        parts = [ConfusionMatrix.of(found[part], true[part], 4) for part in np.s_[:cut, cut:]]
        assert ((parts[0] + parts[1]).counts == whole.counts).all()
    assert (ConfusionMatrix.of(true, found, 4).counts == whole.counts.T).all()
    np.testing.assert_allclose(whole.dice, 2 * whole.iou / (1 + whole.iou))
    perfect = ConfusionMatrix.of(true, true, 4)
    assert perfect.mean_iou == perfect.frequency_weighted_iou == perfect.pixel_accuracy == perfect.mean_dice == 1


def test_two_classes_also_have_binary_scores() -> None:
    found, true = np.array([1, 1, 0, 0, 1]), np.array([1, 0, 0, 0, 1])
    result = SemanticResult(ConfusionMatrix.of(found, true, 2), ("membrane", "cell"))
    assert result.binary == Counts(tp=2, fp=1, fn=0, tn=2)
    scores = result.to_dict()
    assert scores["precision"] == pytest.approx(2 / 3)
    assert scores["recall"] == 1
    assert scores["f1"] == pytest.approx(0.8)
    assert scores["specificity"] == pytest.approx(2 / 3)
    assert scores["per_class"]["cell"]["iou"] == pytest.approx(2 / 3)


def test_more_classes_have_no_binary_scores() -> None:
    result = SemanticResult(ConfusionMatrix.of(FOUND, TRUE, 3, ignore=255), ("a", "b", "c"))
    assert result.binary is None
    assert "specificity" not in result.to_dict()


def test_a_class_that_is_nowhere_is_null_in_json() -> None:
    result = SemanticResult(ConfusionMatrix.of(np.array([0, 1]), np.array([0, 1]), 3), ("a", "b", "c"))
    assert result.to_dict()["per_class"]["c"] == {"accuracy": None, "iou": None, "dice": None}


@pytest.mark.parametrize(("found", "true", "message"), [
    (np.zeros((2, 2), int), np.zeros((2, 3), int), r"proposal has shape \(2, 2\), the labels \(2, 3\)"),
    (np.array([3]), np.array([0]), "proposal hold class 3, there are 3 classes"),
    (np.array([0]), np.array([255]), "labels hold class 255.*ignore_label="),
    (np.array([0.5]), np.array([0]), "classes of the proposal hold 0.5, ids are whole"),
    (np.zeros(0, int), np.zeros(0, int), "nothing to score"),
])
def test_what_holds_no_classes_is_refused(found: np.ndarray, true: np.ndarray, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        ConfusionMatrix.of(found, true, 3)


def test_undefined_results_are_refused() -> None:
    with pytest.raises(PlanError, match="only class 'cell'"):
        SemanticResult(ConfusionMatrix.of(np.array([0, 1]), np.array([1, 1]), 2), ("membrane", "cell"))
    with pytest.raises(PlanError, match="every voxel bears the label to ignore"):
        SemanticResult(ConfusionMatrix.of(np.array([0]), np.array([9]), 2, ignore=9), ("a", "b"))
    with pytest.raises(PlanError, match="2 class names were given for 3 classes"):
        SemanticResult(ConfusionMatrix.of(FOUND, TRUE, 3, ignore=255), ("a", "b"))
    with pytest.raises(PlanError, match="2 and 3 classes do not add up"):
        ConfusionMatrix(np.eye(2, dtype=int)) + ConfusionMatrix(np.eye(3, dtype=int))


def test_pixels_by_hand() -> None:
    found, true = np.array([[1, 1, 0]]), np.array([[255, 0, 255]])
    assert pixel_counts(found, true) == Counts(tp=1, fp=1, fn=1, tn=0)
    assert pixel_error(found, true) == pytest.approx(2 / 3)
    assert pixel_error(true, found) == pytest.approx(2 / 3), "symmetric"


def test_conventions_where_there_is_nothing_to_divide_by() -> None:
    nothing = Counts(0, 0, 0, 5)
    assert (nothing.precision(), nothing.recall(), nothing.f_score()) == (1, 1, 1)
    assert (nothing.precision(0.0), nothing.recall(0.0), nothing.f_score(0.0)) == (0, 0, 0)
    assert Counts(0, 2, 2, 0).f_score() == 0
    assert math.isnan(Counts(0, 0, 0, 0).agreement)
    assert (Counts(1, 2, 3, 4) + Counts(1, 1, 1, 1)) == Counts(2, 3, 4, 5)
