"""The compiled loops against the rules in plain Python, and both against examples that a hand can check."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest
import slow_isbi as slow
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.segmentation import watershed

from tiler.metrics.labelling import label_objects
from tiler.metrics.mismatches import Mismatch, MismatchCounts
from tiler.metrics.thinning import thin
from tiler.metrics.warping import simple_points, warp

SHAPES = st.tuples(st.integers(1, 13), st.integers(1, 13))
IMAGES = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 1])))
TENTHS = st.integers(0, 10).map(lambda k: np.float32(k / 10))


def drawn(picture: str) -> np.ndarray:
    """``#`` is white."""
    return np.array([[character == "#" for character in line] for line in picture.split()]).astype(np.uint8)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, a proposal and a mask of one shape; half of the proposals resemble the labels."""
    shape = draw(SHAPES)
    labels = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 1])))
    proposal = draw(arrays(np.float32, shape, elements=TENTHS))
    if draw(st.booleans()):
        proposal = (0.7 * labels + 0.3 * proposal).astype(np.float32)
    return labels, proposal, draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 1, 1])))


@given(IMAGES)
@settings(deadline=None, max_examples=150)
def test_objects_are_numbered_column_by_column(image: np.ndarray) -> None:
    labels, count = label_objects(image)
    np.testing.assert_array_equal(labels, slow.numbered(image != 0))
    assert count == labels.max()


@given(IMAGES)
@settings(deadline=None, max_examples=200)
def test_thinning_follows_its_rules(image: np.ndarray) -> None:
    basins, count = thin(image)
    np.testing.assert_array_equal(basins, slow.thinned(image != 0))
    assert count == max(1, label_objects(image)[1])


@pytest.mark.parametrize("seed", range(4))
def test_thinning_of_larger_slices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.random((9, 11)) < 0.6
    image = np.kron(coarse, np.ones((5, 4))) * (rng.random((45, 44)) < 0.97)
    np.testing.assert_array_equal(thin(image)[0], slow.thinned(image != 0))


def test_two_objects_grow_until_one_pixel_lies_between() -> None:
    basins, count = thin(drawn("#...#"))
    assert count == 2
    assert basins.tolist() == [[1, 1, 0, 2, 2]]


def test_a_slice_without_objects_is_one_basin() -> None:
    basins, count = thin(np.zeros((3, 4)))
    assert count == 1
    assert (basins == 1).all()


def test_scikit_image_draws_other_dams() -> None:
    """Its watershed line is one pixel everywhere; here the order of the queue can leave two, or none."""
    image = drawn("#..# .... .... #..#")
    other = watershed(1 - image, label_objects(image)[0], connectivity=1, watershed_line=True)
    assert (thin(image)[0] != other).any()


def test_the_table_of_simple_points_is_the_definition() -> None:
    around = [(2, 1), (2, 0), (1, 0), (0, 0), (0, 1), (0, 2), (1, 2), (2, 2)]
    for code in range(256):
        neighbourhood = np.zeros((3, 3), int)
        for bit, place in enumerate(around):
            neighbourhood[place] = code >> bit & 1
        assert simple_points()[code] == slow.is_simple(neighbourhood)
    assert simple_points().sum() == 116


@given(pairs(), st.sampled_from([0.0, 0.1, 0.30000000000000004, 0.5, 0.7999999999999999]), st.booleans(),
       st.sampled_from([-1, 1, 2, 3, 4, 20]))
@settings(deadline=None, max_examples=200)
def test_warping_follows_its_rules(images: tuple[np.ndarray, ...], threshold: float, masked: bool,
                                   radius: int) -> None:
    labels, proposal, mask = images
    chosen = mask if masked else None
    found = warp(labels, proposal, threshold, mask=chosen, radius=radius)
    image = slow.warped(labels, proposal, threshold, chosen)
    np.testing.assert_array_equal(found.warped, image)
    mismatch = image != (proposal.astype(np.float64) > threshold)
    kinds = slow.classified(image, mismatch & (mask != 0) if masked else mismatch, radius)
    expected = np.zeros(image.shape, np.uint8)
    for pixel, kind in kinds.items():
        expected[pixel] = Mismatch[kind.upper()]
    np.testing.assert_array_equal(found.kinds, expected)
    assert asdict(found.pixels) == {**asdict(MismatchCounts()), **Counter(kinds.values())}
    assert asdict(found.clusters) == slow.clusters(image, kinds)


@pytest.mark.parametrize("seed", range(3))
def test_warping_of_larger_slices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.random((4, 5)) < 0.75, np.ones((9, 8))).astype(np.uint8)
    labels[::9] = labels[:, ::8] = 0
    proposal = np.clip(np.roll(labels, 1, 1) * 0.8 + rng.normal(0, 0.25, labels.shape), 0, 1)
    found = warp(labels, proposal, 0.5, radius=6)
    image = slow.warped(labels, proposal, 0.5, None)
    kinds = slow.classified(image, image != (proposal.astype(np.float32).astype(float) > 0.5), 6)
    np.testing.assert_array_equal(found.warped, image)
    assert len(set(kinds.values())) > 3
    assert asdict(found.pixels) == {**asdict(MismatchCounts()), **Counter(kinds.values())}
    assert asdict(found.clusters) == slow.clusters(image, kinds)


@pytest.mark.parametrize(("labels", "proposal", "kind", "pixels", "clusters"), [
    ("##.## ##.## ##.##", "##.## ##### ##.##", "merge", 1, 1),
    ("##### ##### #####", "##.## ##.## ##.##", "split", 1, 1),
    ("##### ##### #####", "##### ##.## #####", "hole_addition", 1, 1),
    ("##### ##.## #####", "##### ##### #####", "hole_deletion", 1, 1),
    ("..... ..... .....", "..... .##.. .....", "object_addition", 2, 1),
    ("..... .##.. .....", "..... ..... .....", "object_deletion", 1, 1),
])
def test_each_type_by_hand(labels: str, proposal: str, kind: str, pixels: int, clusters: int) -> None:
    found = warp(drawn(labels), drawn(proposal))
    assert found.pixels == MismatchCounts(**{kind: pixels})
    assert found.clusters == MismatchCounts(**{kind: clusters})


def test_a_shifted_border_is_no_error() -> None:
    labels, proposal = drawn("##.### ##.### ##.###"), drawn("###.## ###.## ###.##")
    found = warp(labels, proposal)
    assert found.error == 0
    np.testing.assert_array_equal(found.warped, proposal)


def test_ties_are_broken_column_by_column() -> None:
    """Among pixels at equal distance the leftmost, then the topmost is flipped first."""
    labels, proposal = drawn(".... .... ####"), drawn("#### #... #...")
    found = warp(labels, proposal)
    np.testing.assert_array_equal(found.warped, slow.warped(labels, proposal, 0.5, None))


def test_a_ring_is_cut_or_split_depending_on_the_window() -> None:
    """Cut open, a ring still hangs together the long way round: no split, if the window holds that way."""
    ring = np.ones((15, 15), np.uint8)
    ring[4:11, 4:11] = 0
    cut = ring.copy()
    cut[:4, 7] = 0
    assert warp(ring, cut, radius=-1).pixels == MismatchCounts(hole_deletion=1)
    assert warp(ring, cut, radius=3).pixels == MismatchCounts(split=1)
    longer_than_a_side = 16  # then the whole slice is the window
    assert warp(ring, cut, radius=longer_than_a_side).pixels == MismatchCounts(hole_deletion=1)


def test_a_slice_lower_than_the_radius_is_its_own_window() -> None:
    ring = np.ones((5, 30), np.uint8)
    ring[2, 2:28] = 0
    cut = ring.copy()
    cut[:2, 15] = 0
    assert warp(ring, cut, radius=6).pixels.split == 0, "radius 6 is more than 5 rows"
    assert warp(ring, cut, radius=5).pixels.hole_deletion == 0
    assert warp(ring, cut, radius=5).pixels.split == warp(ring, cut, radius=6).pixels.hole_deletion > 0


def test_holes_in_black_and_in_white_are_clusters_apart() -> None:
    """Two holes are filled, and the wall between them is taken away: three neighbours, three clusters."""
    labels, proposal = drawn("##### #.#.# #####"), drawn("##### ##.## #####")
    found = warp(labels, proposal)
    assert found.pixels == found.clusters == MismatchCounts(hole_deletion=3)


def test_distances_are_compared_as_float32() -> None:
    """The first of two pixels is a little nearer to the threshold, in float64 only: it still is flipped first."""
    near = np.float32(0.1)
    far = np.nextafter(near, np.float32(0))
    distances = np.abs(np.array([near, far], np.float64) - 0.5)
    assert distances[0] < distances[1]
    assert distances.astype(np.float32)[0] == distances.astype(np.float32)[1]
    found = warp(np.array([[0, 1, 1, 0]]), np.array([[0, near, far, 0]]))
    assert found.kinds.tolist() == [[0, 0, Mismatch.OBJECT_DELETION, 0]]


def test_only_the_mask_is_warped_and_counted() -> None:
    labels, proposal = drawn("##.##.## ##.##.## ##.##.##"), drawn("##.##.## ######## ##.##.##")
    assert warp(labels, proposal).pixels.merge == 2
    mask = np.ones(labels.shape)
    mask[:, 5:] = 0
    assert warp(labels, proposal, mask=mask).pixels.merge == 1
