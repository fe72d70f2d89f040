"""Annotated stacks: refusals, reading, and the tiles that are drawn."""

import numpy as np
import pytest
import tifffile

from tiler.errors import PlanError, SourceError
from tiler.models.training.augmentation import Augmentation
from tiler.models.training.data import fingerprint, normalisation_of, read_pair, runs_of, split, weights_of
from tiler.models.training.tiles import TileSampler, Window
from tiler.models.training.weight_maps import WeightMap

RANDOM = np.random.default_rng(5)
IMAGES = RANDOM.integers(0, 256, (3, 30, 40)).astype(np.uint8)
LABELS = np.where(RANDOM.random((3, 30, 40)) < 0.7, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(("labels", "says"), [
    (LABELS[:, :20], "labels .* are 3 x 20 x 40 in 1 channel, images .* are 3 x 30 x 40"),
    (LABELS[:2], "2 x 30 x 40"),
    (np.zeros_like(LABELS), r"one class only \(every pixel is 0\)"),
    (np.full_like(LABELS, 255), r"one class only \(every pixel is 255\)"),
    (LABELS // 255 + 1, "hold 1 and 2, and no 0"),
    (LABELS / np.float32(255), "are float32, not integers"),
    (LABELS.astype(np.int16) - 255, "hold -255"),
])
def test_wrong_labels_are_refused_in_one_line(labels, says):
    with pytest.raises(PlanError, match=says) as caught:
        read_pair(IMAGES, labels)
    assert "\n" not in str(caught.value)


def test_grey_values_must_be_finite():
    images = IMAGES.astype(np.float32)
    images[1, 2, 3] = np.nan
    with pytest.raises(PlanError, match="NaN"):
        read_pair(images, LABELS)


def test_images_of_different_size_in_a_folder_are_refused(tmp_path):
    for number, size in enumerate((30, 31)):
        tifffile.imwrite(tmp_path / f"{number}.tif", IMAGES[0, :, :size])
    with pytest.raises(SourceError):
        read_pair(tmp_path, LABELS[:2])


def test_binary_labels_make_components_and_keep_every_pixel():
    slices = read_pair(IMAGES, LABELS)
    assert len(slices) == 3
    assert (slices[1].classes == LABELS[1] // 255).all()
    assert ((slices[1].instances > 0) == (LABELS[1] > 0)).all()
    assert (slices[1].image[0] == IMAGES[1]).all()
    boolean = read_pair(IMAGES, LABELS > 0)
    assert fingerprint(boolean) == fingerprint(slices)


GREY = RANDOM.integers(0, 256, (3, 30, 40)).astype(np.uint8)
BLOBS = np.kron(RANDOM.integers(0, 9, (3, 3, 4)), np.ones((1, 10, 10), int)).astype(np.uint8)


@pytest.mark.parametrize(("images", "says"), [
    (BLOBS, "images look like labels: were the two swapped"), (GREY, "give ids of objects, or one value")])
def test_grey_values_are_no_labels(images, says):
    with pytest.raises(PlanError, match=f"change at 100% of the pixels, as grey values do: .*{says}"):
        read_pair(images, GREY)


def test_what_is_odd_about_labels_is_said():
    heard = []
    read_pair(GREY, BLOBS, warn=heard.append)
    assert heard == []
    read_pair(GREY, LABELS // 255 * np.where(np.arange(40) < 20, 1, 2).astype(np.uint8), warn=heard.append)
    assert "hold 2 values besides 0, each in" in heard[0]
    thin = np.zeros_like(BLOBS)
    thin[:, 5], thin[:, 6], thin[:, 7:20] = 1, 2, 3
    read_pair(GREY, thin, warn=heard.append)
    assert "2 of the 3 objects" in heard[1]


def test_instances_are_parted_by_background():
    labels = np.zeros((1, 4, 6), np.uint16)
    labels[0, :, :3], labels[0, :, 3:5] = 900, 7
    (item,) = read_pair(IMAGES[:1, :4, :6], labels)
    assert item.classes[0].tolist() == [1, 1, 0, 0, 1, 0]
    assert item.instances[0].tolist() == [900, 900, 0, 0, 7, 0]


def test_the_fingerprint_depends_on_every_value():
    other = LABELS.copy()
    other[2, -1, -1] ^= 255
    assert fingerprint(read_pair(IMAGES, LABELS)) != fingerprint(read_pair(IMAGES, other))


def test_split_takes_the_range_out():
    training, held_out = split(list("abcde"), (1, 3))
    assert (training, held_out) == (list("ade"), list("bc"))
    assert split(list("abc"), None) == (list("abc"), [])


@pytest.mark.parametrize("wrong", [(3, 6), (2, 2), (4, 2), (-1, 2), (0, 5)])
def test_ranges_that_cannot_be_held_out_are_refused(wrong):
    with pytest.raises(PlanError, match="validate="):
        split(list("abcde"), wrong)


def test_normalisation_is_that_of_all_pixels():
    scaling = normalisation_of(read_pair(IMAGES, LABELS))
    assert scaling.scale == 255
    assert scaling.mean[0] * 255 == pytest.approx(IMAGES.mean())
    assert scaling.std[0] * 255 == pytest.approx(IMAGES.std())
    with pytest.raises(PlanError, match="one grey value"):
        normalisation_of(read_pair(np.zeros_like(IMAGES), LABELS))


def sampler(seed=0, **augmentation):
    slices = read_pair(IMAGES, LABELS)
    return TileSampler(slices, weights_of(slices, WeightMap(border="paper")), normalisation_of(slices),
                       Augmentation(**augmentation), batch=2, window=Window((24, 24), (8, 8), (8, 8)), seed=seed)


def test_a_step_draws_the_same_tiles_whenever_it_is_asked():
    draw = sampler()
    late = draw(7)
    for first, again in zip(vars(late).values(), vars(sampler()(7)).values(), strict=True):
        assert np.array_equal(first, again)
    assert not np.array_equal(late.images, draw(8).images)
    assert not np.array_equal(late.images, sampler(seed=1)(7).images)
    assert late.images.shape == (2, 1, 24, 24)
    assert late.classes.shape == late.weights.shape == (2, 8, 8)


def test_classes_are_balanced_over_all_slices_together():
    slices = read_pair(IMAGES, LABELS)
    weights = np.array(weights_of(slices, WeightMap(balance="inverse")))
    classes = np.array([item.classes for item in slices])
    assert weights[classes == 0].sum() == pytest.approx(weights[classes == 1].sum(), rel=1e-4)
    assert weights.mean() == pytest.approx(1, rel=1e-4)


def test_every_slice_has_its_turn_in_each_round():
    draw = sampler()
    rounds = [[draw._slice(lap * 3 + place) for place in range(3)] for lap in range(6)]
    assert all(sorted(one) == [0, 1, 2] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_labels_lie_where_the_output_lies():
    """The grey values are the labels here, so the middle of a tile shows what its labels must be."""
    slices = read_pair(LABELS, LABELS)
    draw = TileSampler(slices, weights_of(slices, WeightMap()), normalisation_of(slices),
                       Augmentation(undeformed=1, contrast=0, brightness=0, gamma=0, noise=0),
                       batch=4, window=Window((20, 20), (6, 6), (5, 5)), seed=3)
    tiles = draw(0)
    inside = tiles.images[:, 0, 5:11, 5:11]
    assert ((inside > 0) == tiles.classes).all()
    assert 0 < tiles.classes.mean() < 1


def volumes(slices, planes, output, offset):
    return TileSampler(slices, weights_of(slices, WeightMap()), normalisation_of(slices),
                       Augmentation(undeformed=1, contrast=0, brightness=0, gamma=0, noise=0),
                       batch=4, window=Window((planes, 20, 20), (output, 6, 6), (offset, 5, 5)), seed=3)


def test_labels_of_volumes_lie_where_the_output_lies():
    tiles = volumes(read_pair(LABELS, LABELS), 5, 3, 1)(0)
    assert tiles.images.shape == (4, 1, 5, 20, 20)
    assert ((tiles.images[:, 0, 1:4, 5:11, 5:11] > 0) == tiles.classes).all()


def test_a_volume_never_reaches_over_a_gap_and_is_mirrored_there():
    """Slice 2 of 5 is held out: 0 and 1 belong together, and 3 and 4."""
    stack = np.concatenate([LABELS, LABELS])[:5]
    slices = split(read_pair(stack, stack) + read_pair(stack, stack, stack=1), (2, 3))[0]
    assert runs_of(slices) == [range(2), range(2, 4), range(4, 9)]
    draw, random = volumes(slices, 5, 3, 1), np.random.default_rng(0)
    found = {tuple(draw._planes(2, random)) for _ in range(20)}
    assert found == {(2, 3, 2, 3, 2), (2, 3, 2, 3, 2)[::-1]}
    assert {tuple(draw._planes(6, random)) for _ in range(20)} == {(4, 5, 6, 7, 8), (8, 7, 6, 5, 4)}
