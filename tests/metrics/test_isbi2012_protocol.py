"""Protocol isbi2012 as a whole: additivity, values known from theory, and refusals."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest

from tiler.errors import PlanError, TilerError
from tiler.metrics import Isbi2012, Isbi2012Result, integer_hint, jit, score_slice
from tiler.metrics.isbi2012 import THRESHOLDS
from tiler.metrics.isbi2012_result import HEADLINES, Headline


def stack(slices: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A proposal ``(z, 30, 41)`` from 0 to 1 and its labels: cells between one-pixel membranes."""
    rng = np.random.default_rng(seed)
    labels = np.full((slices, 30, 41), 255, np.uint8)
    labels[:, ::10] = labels[:, :, ::8] = 0
    blurred = (labels / 255 + np.roll(labels, 1, 2) / 255) / 2
    return np.clip(blurred + rng.normal(0, 0.2, labels.shape), 0, 1).astype(np.float32), labels


def result_of(proposal: np.ndarray, labels: np.ndarray) -> Isbi2012Result:
    scores = Isbi2012()
    for cut, truth in zip(proposal, labels, strict=True):
        scores.add(cut, truth)
    return scores.result()


def test_a_perfect_proposal_has_perfect_scores() -> None:
    _, labels = stack()
    official = result_of((labels / 255).astype(np.float32), labels).official
    assert official == {name: 1.0 if name.startswith("v_") else 0.0 for name in official}


def test_every_headline_says_where_it_was_reached() -> None:
    result = result_of(*stack())
    assert result.official.keys() == result.thresholds_reached.keys() == HEADLINES.keys()
    for name, headline in HEADLINES.items():
        curve, reached = result.curves[headline.curve], result.thresholds_reached[name]
        best = curve[THRESHOLDS.index(reached)]
        assert best == (min if headline.lowest else max)(curve)
        assert result.official[name] == (1 - best if headline.error else best)


def test_the_first_of_equal_thresholds_counts_and_nan_never() -> None:
    assert Headline("f").best((math.nan, 0.5, 0.5, 0.4)) == (0.5, 0.1)
    assert Headline("f", error=True).best((0.0, math.nan)) == (1.0, None)
    assert Headline("e", lowest=True, start=1.0).best((1.0, 1.0)) == (1.0, None)
    assert Headline("e", lowest=True, start=math.inf).best((0.2, 0.1, 0.1)) == (0.1, 0.1)


def test_stacks_add_up_in_order_and_travel_between_processes() -> None:
    proposal, labels = stack()
    parts = Isbi2012(), Isbi2012()
    parts[0].add(proposal[0], labels[0])
    for z in (1, 2):
        parts[1].add(proposal[z], labels[z])
    whole = result_of(proposal, labels)
    assert (parts[0] + parts[1]).result().to_json() == whole.to_json()
    sent = pickle.loads(pickle.dumps(score_slice(proposal[0], labels[0])))
    assert sent == whole.slices[0]
    with pytest.raises(PlanError, match="window radius 20 and 5 do not add up"):
        Isbi2012() + Isbi2012(radius=5)


def test_white_is_what_is_not_zero() -> None:
    proposal, labels = stack(1)
    ids = np.where(labels, np.arange(41, dtype=np.uint16) + 3, 0)
    assert result_of(proposal, ids).to_json() == result_of(proposal, labels).to_json()
    assert result_of(proposal, labels > 0).to_json() == result_of(proposal, labels).to_json()


def test_scores_without_an_order_do_not_change_when_a_slice_is_turned() -> None:
    """Thinning and warping break ties column by column; the others know no direction."""
    proposal, labels = stack(2)
    straight = result_of(proposal, labels)
    turned = result_of(proposal.transpose(0, 2, 1), labels.transpose(0, 2, 1))
    for name in ("pixel_error", "rand_error_2012", "rand_error_fg", "rand_error_standard_f", "v_info_not_thinned"):
        assert turned.official[name] == pytest.approx(straight.official[name], rel=1e-12)


def test_equal_cuts_are_scored_once_and_alike() -> None:
    _, labels = stack(1)
    binary = np.roll(labels, 1, 2)[0]
    scores = score_slice(binary, labels[0])
    assert len({id(regions) for regions in scores.regions}) == 1
    assert scores.regions[0] == score_slice((binary / 255).astype(np.float32), labels[0]).regions[0]


def test_labels_that_change_with_the_threshold_are_labelled_again() -> None:
    labels = np.array([[0.25, 0.25, 0, 1.0, 1.0]], np.float32)
    scores = score_slice(np.ones((1, 5), np.float32), labels)
    assert [regions.objects for regions in scores.regions[:4]] == [2, 2, 2, 1]
    assert {counts.tp for counts in scores.pixel[:10]} == {4}, "the pixel error cuts labels at 0"


def test_values_are_rounded_to_float32_and_compared_in_float64() -> None:
    """float32 0.1 is above 0.1, float32 0.7 is not above 0.7; float64 is rounded first."""
    scores = score_slice(np.array([[0.1, 0.7]]), np.ones((1, 2)))
    assert [counts.tp for counts in scores.pixel] == [2, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0]


def test_the_result_is_json_with_null_for_nan() -> None:
    proposal, labels = stack(2)
    labels[1] = 0
    made = json.loads(result_of(proposal, labels).to_json())
    assert made["protocol"] == "isbi2012"
    assert made["shape"] == [2, 30, 41]
    assert len(made["per_slice"]) == 2
    assert made["official"]["rand_error_fg"] == 1.0
    assert made["per_slice"][1]["objects"] == [0] * 11
    assert "no object in the labels of slice 1" in made["remarks"][0]
    assert made["thresholds_reached"]["rand_error_fg"] is None


def test_single_objects_are_remarked_upon() -> None:
    labels = np.zeros((1, 8, 8), np.uint8)
    labels[0, 2:5, 2:5] = 1
    assert "V_Info is 0" in result_of(labels.astype(np.float32), labels).remarks[0]
    assert result_of(*stack()).remarks == ()


@pytest.mark.parametrize(("value", "name"), [(0, "membrane"), (1, "cell")])
def test_labels_of_one_class_can_be_refused(value: int, name: str) -> None:
    labels = np.full((1, 6, 6), value, np.uint8)
    with pytest.raises(PlanError, match=f"labels are all {name}"):
        result_of(np.full(labels.shape, 0.7), labels).require_two_classes()
    result_of(*stack()).require_two_classes()


GREY, CELLS = np.full((4, 5), 0.5), np.ones((4, 5), np.uint8)


@pytest.mark.parametrize(("proposal", "labels", "mask", "message"), [
    (GREY[:3], CELLS, None, r"proposal has shape \(3, 5\), the labels \(4, 5\)"),
    (GREY, CELLS, CELLS[:3], r"mask has shape \(3, 5\), the labels \(4, 5\)"),
    (np.zeros((4, 5, 3)), np.zeros((4, 5, 3)), None, r"proposal has shape \(4, 5, 3\) \(a colour image\?\)"),
    (GREY, np.zeros((9, 4, 5)), None, r"labels has shape \(9, 4, 5\)"),
    (GREY[:0], CELLS[:0], None, r"nothing to score: the labels have shape \(0, 5\)"),
    (np.where(np.eye(4, 5), np.nan, GREY), CELLS, None, "NaN in 4 of 20 pixels"),
    (GREY * 255, CELLS, None, "from 127.5 to 127.5: probabilities from 0 to 1.*rescale="),
    (GREY - 1, CELLS, None, "from -0.5 to -0.5"),
    (-CELLS.astype(np.int16), CELLS, None, "from -1 to -1"),
    (GREY.astype(complex), CELLS, None, "complex128"),
])
def test_wrong_input_is_refused_in_one_line(proposal: np.ndarray, labels: np.ndarray, mask: np.ndarray | None,
                                            message: str) -> None:
    with pytest.raises(TilerError, match=message) as caught:
        score_slice(proposal, labels, mask)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_rounding_beyond_one_is_no_error() -> None:
    score_slice(np.full((4, 5), 1 + 1e-7), CELLS)


def test_a_stack_has_slices_of_one_shape() -> None:
    with pytest.raises(PlanError, match="no slice was given"):
        Isbi2012().result()
    scores = Isbi2012()
    scores.add(GREY, CELLS)
    scores.add(GREY[:2], CELLS[:2])
    with pytest.raises(PlanError, match=r"\(2, 5\) and \(4, 5\)"):
        scores.result()


def test_the_hint_about_integers() -> None:
    hint = integer_hint(np.dtype(np.uint8), 200)
    assert hint is not None
    assert "uint8 with values up to 200" in hint
    assert "`rescale` divides by 255" in hint
    assert integer_hint(np.dtype(np.uint8), 1) is None
    assert integer_hint(np.dtype(np.float32), 200) is None


def double(number: int) -> int:
    return 2 * number


def test_loops_are_compiled_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def njit(**options: bool):
        asked.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'double': no locator available")
        return lambda function: function

    monkeypatch.setattr("numba.njit", njit)
    assert jit.compiled(double)(4) == 8
    assert asked == [{"cache": True, "nogil": True}, {"nogil": True}]
