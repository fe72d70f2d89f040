"""Augmentation: the canvas is the engine's, deformations are what they say, and labels go with their image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.errors import PlanError
from tiler.geometry import Box, Span
from tiler.jobs.read_mirrored import read_mirrored
from tiler.models.training.augmentation import (
    Augmentation,
    displacements,
    grid_of,
    take_image,
    take_labels,
)
from tiler.sources import open_source

RANDOM = np.random.default_rng(7)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(-25, 25), st.integers(-25, 25), st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_at_whole_pixels_a_tile_is_what_the_engine_reads(rows, columns, y, x, size):
    image = RANDOM.integers(0, 255, (2, rows, columns)).astype(np.uint8)
    box = Box((Span(0, 1), Span(y, y + size), Span(x, x + size)))
    expected = read_mirrored(open_source(image[:, None], axes="czyx"), box)[:, 0]
    places = np.stack(np.mgrid[y : y + size, x : x + size]).astype(float)
    assert take_image(image, places) == pytest.approx(expected, abs=0.05)
    assert (take_labels(image[0], places) == expected[0]).all()


def test_an_undeformed_tile_is_one_of_eight_and_interpolates_nothing():
    seen = set()
    for seed in range(60):
        places = Augmentation(undeformed=1).places((40, 30), 6, np.random.default_rng(seed))
        assert (places == np.rint(places)).all()
        relative = places - places.mean((1, 2), keepdims=True)
        assert {tuple(pair) for pair in relative.reshape(2, -1).T} == {tuple(p) for p in grid_of(6).reshape(2, -1).T}
        seen.add(relative[:, 0, :2].tobytes())
    assert len(seen) == 8


def test_displacements_have_the_deviation_asked_for_on_the_coarse_grid():
    drawn = np.array([displacements(5, 3, 10, np.random.default_rng(seed))[:, ::2, ::2] for seed in range(400)])
    assert drawn.std() == pytest.approx(10, rel=0.05)
    assert abs(drawn.mean()) < 0.5


def test_displacements_are_smooth_between_the_points():
    field = displacements(201, 3, 10, np.random.default_rng(1))
    coarse = field[:, ::100, ::100]
    # Neighbouring pixels differ by what a curve through three points allows, not by noise.
    assert np.abs(np.diff(field, axis=2)).max() < 3 * np.ptp(coarse) / 100
    assert np.array_equal(field, displacements(201, 3, 10, np.random.default_rng(1)))


def test_a_rotated_tile_keeps_its_distances():
    places = Augmentation(elastic=0, undeformed=0).places((50, 50), 21, np.random.default_rng(3))
    step = np.diff(places, axis=2)
    assert np.hypot(*step) == pytest.approx(1)
    assert not np.allclose(step, np.rint(step))


def test_labels_follow_their_image():
    labels = np.zeros((64, 64), np.uint8)
    labels[20:45, 10:50] = 1
    for seed in range(5):
        places = Augmentation(undeformed=0).places(labels.shape, 60, np.random.default_rng(seed))
        seen = take_image(labels[None], places)[0] > 0.5
        assert (seen == take_labels(labels, places)).mean() > 0.99


def test_places_fall_everywhere_in_the_image():
    middles = np.array([Augmentation().places((9, 5), 1, np.random.default_rng(s)).ravel() for s in range(300)])
    undeformed = Augmentation(elastic=0, undeformed=1)
    exact = {tuple(undeformed.places((3, 2), 1, np.random.default_rng(s)).ravel()) for s in range(80)}
    assert exact == {(y, x) for y in range(3) for x in range(2)}
    assert middles.std(0).min() > 1


def test_grey_values_vary_by_what_was_asked_for():
    image = np.random.default_rng(0).standard_normal((1, 64, 64)).astype(np.float32)
    none = Augmentation(contrast=0, brightness=0, gamma=0, noise=0)
    assert np.array_equal(none.grey(image, np.random.default_rng(1)), image)
    shifts = [Augmentation(contrast=0, gamma=0, noise=0, brightness=0.5).grey(image, np.random.default_rng(s))
              - image for s in range(200)]
    assert np.std([shift.mean() for shift in shifts]) == pytest.approx(0.5, rel=0.15)
    assert max(np.ptp(shift) for shift in shifts) < 1e-5
    noisy = Augmentation(contrast=0, gamma=0, brightness=0, noise=0.3).grey(image, np.random.default_rng(2)) - image
    assert 0 < noisy.std() <= 0.31


def test_gamma_leaves_the_ends_and_a_flat_image_alone():
    image = np.linspace(-1, 2, 30, dtype=np.float32).reshape(1, 5, 6)
    bent = Augmentation(contrast=0, brightness=0, noise=0, gamma=0.5).grey(image, np.random.default_rng(0))
    assert (bent.min(), bent.max()) == pytest.approx((-1, 2))
    assert not np.allclose(bent, image)
    flat = np.ones((1, 3, 3), np.float32)
    assert np.isfinite(Augmentation().grey(flat, np.random.default_rng(0))).all()


@pytest.mark.parametrize("wrong", [{"grid": 1}, {"undeformed": 1.5}, {"elastic": -1}, {"noise": -0.1}])
def test_impossible_amounts_are_refused(wrong):
    with pytest.raises(PlanError):
        Augmentation(**wrong)
