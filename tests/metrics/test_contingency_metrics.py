"""The contingency table, and the Rand and information metrics that are made of it."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import adapted_rand_error
from skimage.metrics import variation_of_information as skimage_voi

from tiler.errors import PlanError
from tiler.metrics import contingency
from tiler.metrics.contingency import ContingencyTable, Overlaps, all_overlaps, foreground_overlaps
from tiler.metrics.cremi import border_mask, score_cremi
from tiler.metrics.information import Information, information, variation_of_information
from tiler.metrics.rand import adapted_rand, pairs_choose_two, pairs_squared, rand_index, sum_of_squares
from tiler.metrics.snemi3d import score_snemi3d

IDS = st.sampled_from([0, 0, 1, 2, 3, 7, 2**40, 2**64 - 2])


@st.composite
def volumes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels with at least one object, and segments."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)))
    labels, segments = (draw(arrays(np.uint64, shape, elements=IDS)) for _ in range(2))
    labels.flat[0] = 5
    return labels, segments


def entries(table: ContingencyTable) -> dict[tuple[int, int], int]:
    return dict(zip(zip(table.labels.tolist(), table.segments.tolist(), strict=True), table.counts.tolist(),
                    strict=True))


@given(volumes(), st.integers(1, 3))
@settings(deadline=None, max_examples=100)
def test_the_table_counts_pairs_and_adds_up_over_blocks(both: tuple[np.ndarray, np.ndarray], cut: int) -> None:
    labels, segments = both
    table = ContingencyTable.of(labels, segments)
    pairs = zip(labels.ravel().tolist(), segments.ravel().tolist(), strict=True)
    assert entries(table) == dict(sorted(Counter(pairs).items()))
    blocks = [ContingencyTable.of(labels[part], segments[part]) for part in np.s_[:cut, cut:]]
    assert blocks[0] + blocks[1] == table
    assert sum(blocks[::-1], ContingencyTable.empty()) == table
    assert table.transposed() == ContingencyTable.of(segments, labels)


@pytest.mark.parametrize("scale", [1, 10**15], ids=["as a matrix", "as sorted runs"])
@pytest.mark.parametrize("piece", [1 << 22, 7], ids=["at once", "in pieces"])
def test_every_way_to_count_gives_the_same(monkeypatch: pytest.MonkeyPatch, scale: int, piece: int) -> None:
    rng = np.random.default_rng(0)
    labels, segments = rng.integers(0, 9, (2, 6, 5, 4)).astype(np.uint64)
    expected = Counter(zip((labels * scale).ravel().tolist(), (segments * scale).ravel().tolist(), strict=True))
    monkeypatch.setattr(contingency, "PIECE", piece)
    scaled = labels * np.uint64(scale), segments * np.uint64(scale)
    turned = [np.asfortranarray(array) for array in scaled]
    for one, two in (scaled, turned, (scaled[0], turned[1])):
        assert entries(ContingencyTable.of(one, two)) == dict(sorted(expected.items()))


def test_a_table_by_hand() -> None:
    table = ContingencyTable.of(np.array([[1, 1, 0], [1, 2, 2]]), np.array([[5, 5, 5], [0, 5, 0]]))
    assert entries(table) == {(0, 5): 1, (1, 0): 1, (1, 5): 2, (2, 0): 1, (2, 5): 1}
    assert table.total == 6
    assert [part.tolist() for part in table.label_sizes()] == [[0, 1, 2], [1, 3, 2]]
    assert [part.tolist() for part in table.segment_sizes()] == [[0, 5], [2, 4]]
    inside = foreground_overlaps(table)
    assert (sorted(inside.pairs.tolist()), inside.labels.tolist(), inside.segments.tolist(), inside.singletons,
            inside.total) == ([1, 2], [3, 2], [3], 2, 5)


@pytest.mark.parametrize(("labels", "segments", "message"), [
    (np.zeros((2, 3), int), np.zeros((3, 2), int), r"\(2, 3\).*\(3, 2\)"),
    (np.zeros(3, complex), np.zeros(3, int), "labels must hold integer ids, they are complex128"),
    (np.array([np.nan, 0, 1]), np.zeros(3, int), "labels hold NaN in 1 of 3 voxels"),
    (np.zeros(3, int), np.array([0, -4, 2]), "segments of the proposal must hold ids from 0, the smallest is -4"),
])
def test_what_is_no_pair_of_label_images_is_refused(labels: np.ndarray, segments: np.ndarray,
                                                    message: str) -> None:
    with pytest.raises(PlanError, match=message):
        ContingencyTable.of(labels, segments)


@given(volumes())
@settings(deadline=None, max_examples=60)
def test_pairs_are_counted_as_if_one_by_one(both: tuple[np.ndarray, np.ndarray]) -> None:
    labels, segments = (array.ravel().tolist() for array in both)
    table = ContingencyTable.of(*both)
    counts = pairs_choose_two(all_overlaps(table))
    outcomes = Counter((labels[p] == labels[q], segments[p] == segments[q])
                       for p, q in combinations(range(len(labels)), 2))
    assert (counts.tp, counts.fn, counts.fp, counts.tn) == tuple(
        outcomes[pair] for pair in ((True, True), (True, False), (False, True), (False, False)))
    inside = [p for p, true in enumerate(labels) if true]
    own = {p: segments[p] or -p - 1 for p in inside}  # a black pixel is a segment of its own
    outcomes = Counter((labels[p] == labels[q], own[p] == own[q]) for p in inside for q in inside)
    counts = pairs_squared(foreground_overlaps(table))
    assert (counts.tp, counts.fn, counts.fp, counts.tn) == tuple(
        outcomes[pair] for pair in ((True, True), (True, False), (False, True), (False, False)))


def test_rand_by_hand() -> None:
    table = ContingencyTable.of(np.array([1, 1, 2]), np.array([1, 2, 2]))
    assert rand_index(table) == pytest.approx(1 / 3)  # only the pair (first, last) is told apart in both
    merged = adapted_rand(ContingencyTable.of(np.array([1, 1, 2, 2]), np.array([3, 3, 3, 3])))
    assert (merged.precision, merged.recall, merged.error) == (0.5, 1.0, pytest.approx(1 / 3))
    split = adapted_rand(ContingencyTable.of(np.array([3, 3, 3, 3]), np.array([1, 1, 2, 2])))
    assert (split.precision, split.recall) == (1.0, 0.5)


def test_sums_of_squares_are_exact_beyond_64_bits() -> None:
    sizes = np.array([2**40 + 1, 3], np.int64)
    assert sum_of_squares(sizes) == (2**40 + 1) ** 2 + 9
    assert sum_of_squares(np.array([2**20, 3])) == 2**40 + 9
    assert sum_of_squares(np.array([], int)) == 0


def test_pairs_of_an_empty_foreground_are_undefined() -> None:
    nothing = foreground_overlaps(ContingencyTable.of(np.zeros(4, int), np.ones(4, int)))
    assert math.isnan(pairs_squared(nothing).tp)
    assert pairs_squared(nothing).f_score() == 0
    assert pairs_choose_two(nothing).f_score(empty=0.0) == 0
    assert information(nothing).f_score == 0


def test_information_by_hand() -> None:
    quarters = ContingencyTable.of(np.array([1, 1, 2, 2]), np.array([1, 2, 1, 2]))
    info = information(foreground_overlaps(quarters))
    assert info.labels == info.segments == pytest.approx(math.log(2))
    assert info.mutual == pytest.approx(0, abs=1e-15)
    voi = variation_of_information(ContingencyTable.of(np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2])))
    assert (voi.split, voi.merge, voi.total) == (pytest.approx(1), pytest.approx(0), pytest.approx(1))


def test_information_of_black_pixels_is_that_of_single_pixel_segments() -> None:
    labels, segments = np.array([1, 1, 1, 2, 2, 0]), np.array([4, 0, 0, 0, 4, 4])
    distinct = np.array([4, 11, 12, 13, 4])
    whole = information(all_overlaps(ContingencyTable.of(labels[:5], distinct)))
    restricted = information(foreground_overlaps(ContingencyTable.of(labels, segments)))
    assert (restricted.labels, restricted.segments, restricted.joint) == pytest.approx(
        (whole.labels, whole.segments, whole.joint))


def test_a_single_object_has_no_information_score() -> None:
    assert Information(0.0, 1.0, 1.0).precision == 0
    assert Information(0.0, 1.0, 1.0).recall == 1
    assert (Information(1.0, 1e-16, 1.0).precision, Information(1.0, 1e-16, 1.0).recall) == (1, 0)
    perfect = ContingencyTable.of(np.ones(9, int), np.ones(9, int))
    assert information(foreground_overlaps(perfect)).f_score == 0
    assert adapted_rand(perfect).error == 0


@given(volumes(), st.permutations(range(8)))
@settings(deadline=None, max_examples=60)
def test_what_theory_says(both: tuple[np.ndarray, np.ndarray], order: list[int]) -> None:
    labels, segments = both
    table, back = ContingencyTable.of(labels, segments), ContingencyTable.of(segments, labels)
    voi, reverse = variation_of_information(table), variation_of_information(back)
    assert (voi.split, voi.merge) == pytest.approx((reverse.merge, reverse.split), abs=1e-12), "symmetric"
    assert min(voi.split, voi.merge) > -1e-12
    if table.total > 1:
        assert rand_index(table) == rand_index(back)
        assert rand_index(ContingencyTable.of(labels, labels)) == 1
    perfect = score_cremi(ContingencyTable.of(labels, labels))
    assert (perfect.score, score_snemi3d(ContingencyTable.of(labels, labels)).rand.error) == pytest.approx((0, 0))
    new = {0: 0, **{old: order[k] + 1 for k, old in enumerate([1, 2, 3, 5, 7, 2**40, 2**64 - 2])}}
    relabelled, permuted = (np.vectorize(new.get, otypes=[np.uint64])(array) for array in both)
    turned = ContingencyTable.of(relabelled.transpose(2, 0, 1), permuted.transpose(2, 0, 1))
    assert score_snemi3d(turned).to_dict() == pytest.approx(score_snemi3d(table).to_dict())
    # The square root turns a rounding error of 1e-16, which depends on the order of the sums, into one of 1e-8.
    assert score_cremi(turned).to_dict() == pytest.approx(score_cremi(table).to_dict(), abs=1e-7)


def noisy_segmentation() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = np.kron(rng.integers(1, 6, (4, 4)), np.ones((5, 5), int))
    segments = np.where(rng.random(labels.shape) < 0.9, labels, rng.integers(1, 6, labels.shape))
    labels[::5] = 0
    return labels, segments


def test_adapted_rand_is_scikit_images_but_for_its_pairs() -> None:
    """It counts pairs of different pixels, ours also each pixel with itself: an O(1/n) difference."""
    labels, segments = noisy_segmentation()
    table = ContingencyTable.of(labels, segments)
    theirs = adapted_rand_error(labels, segments)[0]
    same_pairs = pairs_choose_two(foreground_overlaps(table))
    assert 1 - same_pairs.f_score() == pytest.approx(theirs, rel=1e-12)
    assert adapted_rand(table).error != pytest.approx(theirs, rel=1e-3)
    large = ContingencyTable(table.labels, table.segments, table.counts * 1000)
    same_pairs = pairs_choose_two(foreground_overlaps(large))
    assert adapted_rand(large).error == pytest.approx(1 - same_pairs.f_score(), 1e-3)


def test_scikit_image_swaps_precision_and_recall() -> None:
    """Precision falls with mergers; scikit-image's recall does."""
    labels, merged = np.array([1, 1, 2, 2, 2]), np.ones(5, int)
    _, precision, recall = adapted_rand_error(labels, merged)
    ours = pairs_choose_two(foreground_overlaps(ContingencyTable.of(labels, merged)))
    assert (ours.precision(), ours.recall()) == (recall, precision) == (pytest.approx(0.4), 1.0)


def test_scikit_image_keeps_the_background_of_the_proposal_as_one_segment() -> None:
    labels, segments = np.array([1, 1, 1, 2, 2, 2]), np.array([1, 0, 0, 0, 0, 2])
    ours = 1 - pairs_choose_two(foreground_overlaps(ContingencyTable.of(labels, segments))).f_score()
    assert adapted_rand_error(labels, segments)[0] == pytest.approx(1 - 2 * 2 / (6 + 6))
    assert ours == 1, "no pair of the foreground is joined by an object of the proposal"


def test_variation_of_information_is_scikit_images() -> None:
    labels, segments = noisy_segmentation()
    split, merge = skimage_voi(labels, segments)
    voi = variation_of_information(ContingencyTable.of(labels, segments))
    assert (voi.split, voi.merge) == pytest.approx((split, merge), rel=1e-12)


def test_restricted_information_is_scikit_images_only_with_unique_zeros_and_in_nats() -> None:
    labels, segments = noisy_segmentation()
    segments[2] = 0
    inside = labels > 0
    unique = np.where(segments == 0, 100 + np.arange(segments.size).reshape(segments.shape), segments)
    theirs = skimage_voi(labels[inside], unique[inside]).sum() * math.log(2)
    ours = information(foreground_overlaps(ContingencyTable.of(labels, segments))).variation
    assert ours == pytest.approx(theirs, rel=1e-12)
    assert ours != pytest.approx(skimage_voi(labels, segments).sum() * math.log(2), rel=0.1)


def test_snemi3d_by_hand() -> None:
    labels = np.array([1, 1, 1, 2, 2, 0, 0])
    segments = np.array([4, 4, 0, 4, 4, 4, 0])
    result = score_snemi3d(ContingencyTable.of(labels, segments))
    # pairs: 2^2 + 2^2 + 1 alone = 9; of segments 4^2 + 1 = 17; of objects 3^2 + 2^2 = 13
    assert (result.rand.precision, result.rand.recall) == (9 / 17, 9 / 13)
    assert (result.voxels, result.objects, result.segments) == (5, 2, 1)
    assert result.to_dict()["adapted_rand_error"] == pytest.approx(1 - 2 * 9 / (17 + 13))


def test_cremi_by_hand() -> None:
    labels = np.array([1, 1, 1, 2, 2, 0, 2**64 - 1], np.uint64)
    segments = np.array([4, 4, 0, 4, 4, 4, 0])
    result = score_cremi(ContingencyTable.of(labels, segments))
    # as for SNEMI3D, but the pixel alone counts as 1/7 of a pair: it is divided by the size of the volume
    together = 8 + 1 / 7
    assert (result.rand.precision, result.rand.recall) == pytest.approx((together / (16 + 1 / 7), together / 13))
    # segment 0 is one more segment: H(S|T) = 3/5 H(1/3), H(T|S) = 4/5 H(1/2) in bits
    third = -(math.log2(1 / 3) + 2 * math.log2(2 / 3)) / 3
    assert (result.voi.split, result.voi.merge) == pytest.approx((0.6 * third, 0.8))
    assert result.score == pytest.approx(math.sqrt(result.rand.error * result.voi.total))


@pytest.mark.parametrize("score", [score_snemi3d, score_cremi])
def test_labels_without_objects_are_refused(score) -> None:
    with pytest.raises(PlanError, match="labels hold no object"):
        score(ContingencyTable.of(np.zeros(5, int), np.ones(5, int)))
    with pytest.raises(PlanError, match="labels hold no object"):
        score(ContingencyTable.empty())


def test_borders_are_masked_section_by_section() -> None:
    labels = np.ones((2, 5, 7), int)
    labels[0, :, 3:] = 2
    mask = border_mask(labels, 0)
    assert mask[0].sum(0).tolist() == [0, 0, 5, 5, 0, 0, 0]
    assert border_mask(labels, 1.0)[0].sum(0).tolist() == [0, 5, 5, 5, 5, 0, 0]
    assert not mask[1].any(), "what lies in the next section is no border"
    with pytest.raises(PlanError, match=r"\(5, 7\)"):
        border_mask(labels[0], 1)


def test_diagonal_distance_counts_as_it_is() -> None:
    labels = np.ones((1, 5, 5), int)
    labels[0, 0, 0] = 2
    assert border_mask(labels, 1)[0].sum() == border_mask(labels, 1.2)[0].sum() < border_mask(labels, 1.5)[0].sum()


def test_overlaps_know_their_foreground() -> None:
    assert Overlaps(np.array([2]), np.array([2, 3]), np.array([2]), 3).total == 5
