"""Quality of endoscopic frames and the place of their picture, by hand on a few pixels."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from tiler.errors import PlanError
from tiler.models.zoo.endoscopy import Appearance, Levels, Limits, appearance, faults, field_of_view, otsu_threshold

LEVELS = Levels(pale_value=0.8, pale_saturation=0.2, red=0.75)
LIMITS = Limits(darkest=0.2, brightest=0.7, pale=0.3, red=0.5)
COLOURS = [(255, 255, 230), (204, 102, 102), (255, 51, 0), (0, 0, 0)]
"""Foam, mucosa, blood, nothing."""


def frame_of(colours, shape=(2, 2)):
    return np.array(colours, np.uint8).T.reshape(3, *shape)


def uniform(red, green, blue):
    return np.broadcast_to(np.array([red, green, blue], np.uint8)[:, None, None], (3, 4, 5))


def disc(size=(60, 80), centre=(32, 37), radius=20):
    rows, columns = np.ogrid[:size[0], :size[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def test_an_appearance_by_hand():
    seen = appearance(frame_of(COLOURS), LEVELS)
    assert seen == pytest.approx(((1 + 0.8 + 1 + 0) / 4, 1 / 4, 1 / 4))
    only = appearance(frame_of(COLOURS), LEVELS, np.array([[True, True], [False, False]]))
    assert only == pytest.approx((0.9, 0.5, 0))


def test_levels_are_reached_by_the_pixel_that_lies_on_them():
    pale, red = np.array([0.75, 0.75, 0.5]).reshape(3, 1, 1), np.array([0.5, 0.25, 0.25]).reshape(3, 1, 1)
    assert appearance(pale, Levels(0.75, 1 / 3, 1)).pale == 1
    assert appearance(pale, Levels(0.76, 1 / 3, 1)).pale == 0
    assert appearance(pale, Levels(0.75, 0.33, 1)).pale == 0
    assert appearance(red, Levels(1, 0, 0.5)).red == 1
    assert appearance(red, Levels(1, 0, 0.51)).red == 0


def test_black_is_not_red():
    assert appearance(uniform(0, 0, 0), Levels(0.5, 0.5, 0.0)) == (0, 0, 0)


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.float64])
def test_the_type_of_a_frame_does_not_matter(kind):
    frame = frame_of(COLOURS)
    same = frame.astype(kind) * 257 if kind is np.uint16 else (frame / 255).astype(kind)
    assert appearance(same, LEVELS) == pytest.approx(appearance(frame, LEVELS), abs=1e-6)


@pytest.mark.parametrize(("colour", "found"), [
    ((10, 5, 5), ("dark",)), ((240, 150, 150), ("bright",)), ((255, 250, 250), ("bright", "foam")),
    ((150, 10, 10), ("blood",)), ((150, 90, 90), ())])
def test_each_fault_is_named(colour, found):
    assert faults(appearance(uniform(*colour), LEVELS), LIMITS) == found


def test_a_frame_at_its_limits_is_accepted():
    assert faults(Appearance(0.2, 0.3, 0.5), LIMITS) == faults(Appearance(0.7, 0.3, 0.5), LIMITS) == ()


def test_limits_are_quantiles_of_what_was_accepted():
    accepted = [Appearance(n / 10, n / 20, n / 40) for n in range(11)]
    assert Limits.of(accepted, 0.1) == Limits(*map(pytest.approx, (0.1, 0.9, 0.45, 0.225)))
    assert not any(faults(seen, Limits.of(accepted, 0)) for seen in accepted)
    assert [bool(faults(seen, Limits.of(accepted, 0.05))) for seen in accepted] == [True, *[False] * 9, True]


@pytest.mark.parametrize("seed", range(3))
def test_otsu_s_threshold_is_that_of_scikit_image(seed):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(60, 12, 700), rng.normal(160, 25, 300)]).clip(0, 255).astype(np.uint8)
    assert otsu_threshold(values / 255) == pytest.approx((threshold_otsu(values) + 0.5) / 255)


def test_otsu_by_hand():
    """0 0 1 | 4 5 of 5: of the four divisions, 3 x 2 x (1/3 - 9/2)^2 is the largest."""
    assert otsu_threshold(np.array([0, 0, 51, 204, 255]) / 255) == pytest.approx(51.5 / 255)


def test_the_field_of_view_is_the_disc_with_its_lumen_and_without_the_caption():
    inside = disc()
    frame = np.where(inside, np.array([180, 90, 80])[:, None, None], 4).astype(np.uint8)
    frame[:, disc(radius=6)] = 8
    frame[:, 2:6, 2:30] = 255
    field = field_of_view(frame)
    assert field.region == (slice(12, 53), slice(17, 58))
    np.testing.assert_array_equal(field.inside, inside)
    assert 8 / 255 < field.threshold < 180 / 255
    assert frame[:, *field.region].shape == (3, 41, 41)


def test_parts_that_touch_at_a_corner_are_two():
    frame = np.zeros((3, 4, 4), np.uint8)
    frame[0, :2, :2] = frame[0, 2:, 2] = 200
    assert field_of_view(frame).region == (slice(0, 2), slice(0, 2))


def test_a_threshold_may_be_given():
    frame = np.repeat(np.array([[[0, 100, 200, 200]]], np.uint8), 3, 0)
    assert field_of_view(frame).region[1] == slice(2, 4)
    assert field_of_view(frame, 0.3).region[1] == slice(1, 4)
    with pytest.raises(PlanError, match=r"brighter than 0\.9, its brightest pixel has 0\.784"):
        field_of_view(frame, 0.9)


@pytest.mark.parametrize(("frame", "says"), [
    (np.zeros((4, 4, 3), np.uint8), r"\(3, y, x\).*got \(4, 4, 3\)"),
    (np.zeros((3, 4, 0), np.uint8), "or empty"),
    (np.full((3, 2, 2), 1.5), "floats from 0 to 1: this one is float64"),
    (np.full((3, 2, 2), np.nan), "floats from 0 to 1"),
    (np.full((3, 2, 2), -1), "this one is int64"),
])
def test_what_is_no_frame_is_refused(frame, says):
    with pytest.raises(PlanError, match=says):
        appearance(frame, LEVELS)


@pytest.mark.parametrize(("inside", "got"), [
    (np.ones((4, 5), np.uint8), r"uint8 of \(4, 5\)"), (np.ones((5, 4), bool), r"bool of \(5, 4\)"),
    (np.ones(4, bool), r"bool of \(4,\)"), (np.ones((3, 4, 5), bool), r"bool of \(3, 4, 5\)"),
])
def test_a_mask_that_is_none_of_the_frame_is_refused(inside, got):
    with pytest.raises(PlanError, match=rf"as bool of the frame's shape \(4, 5\) \(y, x\), got {got}$"):
        appearance(uniform(9, 9, 9), LEVELS, inside)


def test_impossible_requests_are_refused():
    with pytest.raises(PlanError, match="equally bright everywhere"):
        field_of_view(uniform(9, 9, 9))
    with pytest.raises(PlanError, match="nothing to measure"):
        appearance(uniform(9, 9, 9), LEVELS, np.zeros((4, 5), bool))
    with pytest.raises(PlanError, match="level red of pixels lies within 0 and 1, got 75"):
        Levels(0.5, 0.5, 75)
    with pytest.raises(PlanError, match="got 0 frames"):
        Limits.of([], 0.1)
    with pytest.raises(PlanError, match=r"a tail of 0\.5"):
        Limits.of([Appearance(0, 0, 0)], 0.5)
