"""Metrics of single objects: matching, SEG, average precision, panoptic quality."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tiler.errors import PlanError
from tiler.metrics.contingency import ContingencyTable
from tiler.metrics.instances import IOU_THRESHOLDS, Overlap, score_instances
from tiler.metrics.panoptic import PanopticCounts, Segments, panoptic_counts
from tiler.metrics.statistics import Counts


def row(*runs: tuple[int, int]) -> np.ndarray:
    """``(id, length)`` after ``(id, length)``."""
    return np.concatenate([np.full(length, number) for number, length in runs])


# object 1: 10 voxels, 8 of them found as 5; object 2: 10 voxels, halved into 6 and 7; 9 lies on background
LABELS = row((1, 10), (2, 10), (0, 5))
SEGMENTS = row((5, 8), (0, 2), (6, 5), (7, 5), (9, 4), (0, 1))


def test_matching_by_hand() -> None:
    overlap = Overlap.of(ContingencyTable.of(LABELS, SEGMENTS))
    assert overlap.iou.tolist() == [0.8, 0.5, 0.5]
    assert overlap.counts() == Counts(tp=1, fp=3, fn=1, tn=0), "an IoU of one half is no match"
    assert overlap.average_precision() == 1 / 5
    assert overlap.average_precision(0.75) == 1 / 5
    assert overlap.average_precision(0.8) == 0
    assert overlap.seg == 0.4, "no segment covers more than half of object 2"


def test_instances_by_hand() -> None:
    result = score_instances(ContingencyTable.of(LABELS, SEGMENTS))
    scores = result.to_dict()
    assert scores["average_precision_50_95"] == pytest.approx(6 / 10 / 5)
    assert scores["panoptic_quality"] == pytest.approx(0.8 / (1 + 3 / 2 + 1 / 2))
    sq, rq = scores["segmentation_quality"], scores["recognition_quality"]
    assert scores["panoptic_quality"] == pytest.approx(sq * rq)
    assert (scores["precision"], scores["recall"]) == (1 / 4, 1 / 2)
    assert (scores["matched"], scores["invented"], scores["missed"]) == (1, 3, 1)
    assert IOU_THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def test_seg_counts_a_segment_that_covers_two_objects() -> None:
    """SEG asks what covers an object, so one merged segment may serve two; matching gives it to one at most."""
    labels, merged = row((1, 6), (2, 4)), row((3, 10))
    overlap = Overlap.of(ContingencyTable.of(labels, merged))
    assert overlap.seg == pytest.approx((0.6 + 0.4) / 2)
    assert overlap.counts() == Counts(1, 0, 1, 0)


@given(arrays(np.uint8, (2, 40), elements=st.integers(0, 4)))
@settings(deadline=None, max_examples=80)
def test_matches_are_unique_and_symmetric(both: np.ndarray) -> None:
    labels, segments = both
    overlap, back = (Overlap.of(ContingencyTable.of(*pair)) for pair in ((labels, segments), (segments, labels)))
    for threshold in (0.5, 0.7):
        matched = overlap.matched(threshold)
        assert len(set(overlap.labels[matched].tolist())) == matched.sum()
        assert len(set(overlap.segments[matched].tolist())) == matched.sum()
        ours, theirs = overlap.counts(threshold), back.counts(threshold)
        assert (ours.tp, ours.fp, ours.fn) == (theirs.tp, theirs.fn, theirs.fp)
    if labels.any():
        perfect = score_instances(ContingencyTable.of(labels, labels * 17)).headline()
        assert set(perfect.values()) == {1.0}


def test_what_cannot_be_matched_is_refused() -> None:
    overlap = Overlap.of(ContingencyTable.of(LABELS, SEGMENTS))
    with pytest.raises(PlanError, match=r"from 0.5 to below 1, got 0.3"):
        overlap.matched(0.3)
    with pytest.raises(PlanError, match="labels hold no object"):
        score_instances(ContingencyTable.of(np.zeros(9, int), np.ones(9, int)))


SKY, CELL = 10, 20


def count(labels: np.ndarray, segments: np.ndarray, truth: Segments, proposal: dict[int, int]) -> PanopticCounts:
    return panoptic_counts(ContingencyTable.of(labels, segments), truth, Segments(proposal))


def test_panoptic_quality_by_hand() -> None:
    """Two cells and the sky; one cell is found with IoU 0.8, one is missed, the sky is found with IoU 0.75."""
    labels = row((1, 10), (2, 4), (3, 12))
    segments = row((5, 8), (6, 2), (6, 4), (6, 12))
    counts = count(labels, segments, Segments({1: CELL, 2: CELL, 3: SKY}), {5: CELL, 6: SKY})
    assert counts.counts == {CELL: Counts(1, 0, 1, 0), SKY: Counts(1, 0, 0, 0)}
    cell, sky = counts.quality(CELL), counts.quality(SKY)
    assert (cell.pq, cell.sq, cell.rq) == pytest.approx((0.8 / 1.5, 0.8, 1 / 1.5))
    assert sky.pq == pytest.approx(12 / 18)
    assert counts.mean_quality().pq == pytest.approx((0.8 / 1.5 + 12 / 18) / 2)
    assert counts.mean_quality([CELL]).pq == cell.pq
    assert counts.mean_quality([SKY]).classes == 1


def test_what_lies_on_void_is_not_in_the_union() -> None:
    """6 of 10 voxels lie on void: the IoU is 4/4, not 4/10."""
    counts = count(row((1, 4), (0, 6)), row((5, 10)), Segments({1: CELL}), {5: CELL})
    assert counts.counts == {CELL: Counts(1, 0, 0, 0)}
    assert counts.iou == {CELL: 1.0}


@pytest.mark.parametrize(("on_void", "invented"), [(5, 1), (6, 0)])
def test_a_segment_mostly_on_void_is_forgiven(on_void: int, invented: int) -> None:
    labels = row((0, on_void), (1, 10 - on_void), (1, 90))
    counts = count(labels, row((5, 10), (0, 90)), Segments({1: SKY}), {5: CELL})
    assert counts.counts.get(CELL, Counts(0, 0, 0, 0)).fp == invented
    assert counts.counts[SKY] == Counts(0, 0, 1, 0)


def test_a_segment_mostly_on_a_crowd_of_its_class_is_forgiven() -> None:
    labels, segments = row((1, 6), (2, 4), (2, 20)), row((5, 10), (0, 20))
    truth = Segments({1: CELL, 2: SKY}, crowds={1})
    assert count(labels, segments, truth, {5: CELL}).counts == {SKY: Counts(0, 0, 1, 0)}, "a crowd is never missed"
    as_sky = count(labels, segments, truth, {5: SKY})
    assert as_sky.counts == {SKY: Counts(0, 1, 1, 0)}, "a crowd of another class is no excuse"


def test_a_crowd_is_never_matched() -> None:
    counts = count(row((1, 10)), row((5, 10)), Segments({1: CELL}, crowds={1}), {5: CELL})
    assert counts.counts == {}


def test_segments_of_another_class_do_not_match() -> None:
    counts = count(row((1, 10)), row((5, 10)), Segments({1: CELL}), {5: SKY})
    assert counts.counts == {CELL: Counts(0, 0, 1, 0), SKY: Counts(0, 1, 0, 0)}


def test_panoptic_counts_add_up_over_images() -> None:
    one = count(row((1, 10)), row((5, 10)), Segments({1: CELL}), {5: CELL})
    two = count(row((1, 10)), row((5, 8), (0, 2)), Segments({1: CELL}), {5: CELL})
    other = count(row((7, 3)), row((0, 3)), Segments({7: SKY}), {})
    total = one + two + other
    assert total.counts == {CELL: Counts(2, 0, 0, 0), SKY: Counts(0, 0, 1, 0)}
    assert total.quality(CELL).pq == pytest.approx(0.9)
    assert total.mean_quality().pq == pytest.approx(0.45)


def test_a_class_that_does_not_occur_has_no_quality() -> None:
    nothing = PanopticCounts()
    assert math.isnan(nothing.quality(CELL).pq)
    assert math.isnan(nothing.mean_quality([CELL, SKY]).pq)
    assert nothing.mean_quality().classes == 0


def test_an_id_without_class_is_refused() -> None:
    with pytest.raises(PlanError, match="proposal hold the id 6, which has no class"):
        count(row((1, 10)), row((5, 8), (6, 2)), Segments({1: CELL}), {5: CELL})
    with pytest.raises(PlanError, match="labels hold the id 1"):
        count(row((1, 10)), row((5, 10)), Segments({}), {5: CELL})
