"""Weight maps: by hand, against plain Python, and the gap between touching instances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tiler.errors import PlanError
from tiler.models.training.weight_maps import (
    WeightMap,
    class_weights,
    distance_weights,
    instances_of,
    separate_touching,
    separation,
    two_nearest,
)

IMAGES = arrays.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4))


def plain_distances(instances, place):
    """Distances of one pixel to all instances, ascending."""
    found = {}
    for other in np.ndindex(*instances.shape):
        if instances[other]:
            distance = math.dist(place, other)
            found[instances[other]] = min(found.get(instances[other], math.inf), distance)
    return [*sorted(found.values()), math.inf, math.inf]


@given(IMAGES)
@settings(deadline=None, max_examples=40)
def test_distances_are_those_of_plain_python(instances):
    first, second = two_nearest(instances, reach=100)
    for place in np.ndindex(*instances.shape):
        expected = plain_distances(instances, place)
        assert first[place] == pytest.approx(expected[0])
        assert second[place] == pytest.approx(expected[1])


def test_beyond_its_reach_a_distance_is_infinite():
    instances = np.array([[1, 0, 0, 0, 0, 2]])
    first, second = two_nearest(instances, reach=2)
    assert first.tolist() == [[0, 1, 2, 2, 1, 0]]
    assert np.isinf(second).all()


def test_separation_by_hand():
    instances = np.array([[3, 3, 0, 0, 0, 8]])
    # d1 + d2 = 4 between the two; inside them d1 = 0 and d2 grows from 4.
    sums = np.array([[5, 4, 4, 4, 4, 4]])
    assert separation(instances) == pytest.approx(10 * np.exp(-sums**2 / 50), rel=1e-5)
    assert separation(instances, w0=2, sigma=3) == pytest.approx(2 * np.exp(-sums**2 / 18), rel=1e-5)


def test_what_the_reach_cuts_off_is_below_a_millionth():
    far = np.zeros((1, 60), np.int32)
    far[0, 0], far[0, -1] = 1, 2
    exact = 10 * np.exp(-(59.0**2) / 50)
    assert abs(separation(far)[0, 30] - exact) < 2e-6


@pytest.mark.parametrize("instances", [np.zeros((4, 4), int), np.eye(4, dtype=int)])
def test_fewer_than_two_instances_add_nothing(instances):
    assert (separation(instances) == 0).all()


def test_the_weights_of_2019_by_hand():
    weights = distance_weights(np.array([[1, 0, 0, 2]]))
    ground = 0.1 + 0.9 * math.exp(-1 / 200) + 50 * math.exp(-9 / 72)
    assert weights.ravel() == pytest.approx([1, ground, ground, 1])
    lonely = np.zeros((1, 200), int)
    lonely[0, 0] = 1
    assert distance_weights(lonely)[0, -1] == pytest.approx(0.1)


def neighbours(shape, place):
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            other = (place[0] + dy, place[1] + dx)
            if all(0 <= at < size for at, size in zip(other, shape, strict=True)):
                yield other


@given(IMAGES)
@settings(deadline=None, max_examples=60)
def test_after_separation_no_two_instances_touch_and_nothing_else_changed(instances):
    parted = separate_touching(instances)
    for place in np.ndindex(*instances.shape):
        around = {instances[other] for other in neighbours(instances.shape, place)} - {0}
        touched = instances[place] != 0 and len(around) > 1
        assert parted[place] == (0 if touched else instances[place])
        assert len({parted[other] for other in neighbours(instances.shape, place)} - {0}) <= 1 or not parted[place]


def test_a_diagonal_of_membrane_parts_two_cells():
    assert instances_of(np.array([[0, 255], [255, 0]])).max() == 2


def test_inverse_balance_gives_both_classes_the_same_weight_in_total():
    counts = np.array([25, 75])
    weights = class_weights("inverse", counts)
    assert weights == pytest.approx((2.0, 2 / 3))
    assert np.dot(weights, counts) == pytest.approx(counts.sum())
    assert class_weights("none", counts) == (1.0, 1.0)


def test_the_map_is_class_weight_plus_separation():
    instances = np.array([[1, 0, 2]])
    classes = (instances != 0).astype(np.uint8)
    weights = WeightMap(balance="inverse", border="paper").of(instances, classes, (3.0, 0.5))
    assert weights.ravel() == pytest.approx(np.array([0.5, 3, 0.5]) + 10 * np.exp(-4 / 50))
    assert WeightMap().of(instances, classes, (3.0, 0.5)).ravel() == pytest.approx([0.5, 3, 0.5])


@pytest.mark.parametrize("wrong", [{"balance": "median"}, {"border": "2015"}, {"sigma": 0}, {"w0": -1}])
def test_impossible_weights_are_refused(wrong):
    with pytest.raises(PlanError):
        WeightMap(**wrong)
