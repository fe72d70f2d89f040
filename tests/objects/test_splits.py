"""Objects are split by blocks as the whole volume is in one piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed
from stages import done, in_memory, numbered
from test_components import expected

from tiler.geometry import Box, Grid
from tiler.jobs.components import Labelled
from tiler.jobs.splits import BoxesJob, Numbered, Parts, PlacesJob, SplitJob
from tiler.objects import splitting
from tiler.objects.connectivity import REACH, Connectivity
from tiler.objects.splitting import Watershed
from tiler.stores.shelf import shelf_at


def split(mask, block, how, depth=None, min_size=0, executor="serial", place=None):
    """All stages: objects, their places, their parts, and these as objects; also what was split."""
    grid = Grid(Box.of_shape(mask.shape), block)
    place = place or (lambda name: None)
    ids, _ = numbered(Labelled(in_memory(mask), grid, how.connectivity, shelf_at(place("whole"))), executor=executor)
    objects = Numbered(ids, grid, shelf_at(place("split")))
    done(BoxesJob(objects), len(grid), executor)
    done(PlacesJob(objects), 1)
    told = done(SplitJob(objects, how, None if depth is None else in_memory(depth)), len(grid), executor)
    parts = Labelled(Parts(objects), grid, how.connectivity, shelf_at(place("parts")))
    return numbered(parts, min_size, executor=executor)[0].array, told


def in_one_piece(mask, how, depth=None):
    """The rule on all of the volume by scikit-image, object by object; by sections where objects are of one."""
    flat = how.connectivity.flat
    structure = ndimage.generate_binary_structure(3, REACH[how.connectivity.neighbours])
    whole, parts = expected(mask, how.connectivity.neighbours), np.zeros(mask.shape, np.int64)
    for alone in (whole == number for number in range(1, whole.max() + 1)):
        sections = alone.any(axis=(1, 2)) if flat else np.ones(len(mask), bool)
        inside = alone[sections]
        deep = ndimage.distance_transform_edt(inside, how.sampling) if depth is None else depth[sections]
        deep = np.where(inside, 1 if depth is None and inside.all() else deep, 0)
        steps, height = np.round(deep * 2**16), np.round(how.height * 2**16)
        peaks = local_maxima(reconstruction(np.maximum(steps - height, 0), steps, footprint=structure), structure)
        seeds, count = ndimage.label(peaks, structure)
        found = watershed(-deep, seeds, connectivity=structure, mask=inside) if count > 1 else inside
        parts[alone] = found[inside] + parts.max()
    return expected(parts, how.connectivity.neighbours)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_whatever_the_blocks_parts_are_those_of_the_whole_volume(data):
    shape = tuple(data.draw(st.integers(1, top)) for top in (4, 14, 14))
    block = tuple(data.draw(st.integers(1, size)) for size in shape)
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    smooth = ndimage.gaussian_filter(random.random(shape), 1.2)
    mask = (smooth > np.quantile(smooth, data.draw(st.sampled_from([0.2, 0.4, 0.6])))).astype(np.uint8)
    neighbours, height = data.draw(st.sampled_from(sorted(REACH))), data.draw(st.sampled_from([0.25, 0.5, 1.0]))
    how = Watershed(height, Connectivity(neighbours), data.draw(st.sampled_from([(1.0, 1.0, 1.0), (7.5, 1.0, 1.0)])))
    depth = None if data.draw(st.booleans()) else np.round(10 * smooth).astype(np.float32)
    found, _ = split(mask, block, how, depth)
    np.testing.assert_array_equal(found, in_one_piece(mask, how, depth))


def bridge():
    """Two discs that a narrow bridge joins."""
    y, x = np.mgrid[:30, :60]
    discs = ((y - 15) ** 2 + (x - 15) ** 2 < 120) | ((y - 15) ** 2 + (x - 44) ** 2 < 120)
    return (discs | ((abs(y - 15) < 3) & (x > 10) & (x < 50)))[None].astype(np.uint8)


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_two_discs_come_apart_at_their_bridge(tmp_path, executor):
    found, told = split(bridge(), (1, 13, 17), Watershed(1.0, Connectivity(4)), executor=executor,
                        place=lambda name: tmp_path / name)
    assert found.max() == 2
    assert found[0, 15, 15] != found[0, 15, 44]
    assert abs(int((found == 1).sum()) - int((found == 2).sum())) < 40
    assert sum(entry["split"] for entry in told.values()) == 1  # by one block, though it lies in many


def test_peaks_that_are_not_high_enough_make_no_parts():
    assert split(bridge(), (1, 13, 17), Watershed(20.0, Connectivity(4)))[0].max() == 1


def test_objects_above_the_limit_stay_whole_and_are_counted():
    found, told = split(bridge(), (1, 13, 17), Watershed(1.0, Connectivity(4), limit=100))
    assert found.max() == 1
    assert sum(entry["too_large"] for entry in told.values()) == 1


def test_objects_around_each_other_keep_their_own_parts():
    """The boxes of both overlap, and the first block of the outer one holds no corner of its box."""
    mask = np.ones((1, 20, 20), np.uint8)
    mask[0, 2:18, 2:18] = 0
    mask[0, 5:15, 5:15] = 1
    mask[0, :3, :3] = 0
    how = Watershed(0.5, Connectivity(8))
    np.testing.assert_array_equal(split(mask, (1, 3, 3), how)[0], in_one_piece(mask, how))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 9999), st.sampled_from([4, 8, 6, 18, 26]), st.booleans())
def test_shortcuts_for_small_objects_change_nothing(seed, neighbours, flooded):
    random, touch = np.random.default_rng(seed), Connectivity(neighbours)
    shape = (1 if touch.flat else random.integers(1, 6), *random.integers(1, 20, 2))
    labels, count = ndimage.label(ndimage.gaussian_filter(random.random(shape), (0.5, 1.2, 1.2)) > 0.5, touch.structure)
    assume(count)
    place = ndimage.find_objects(labels)[0]
    inside, depth = labels[place] == 1, None
    if flooded:
        depth = random.random(inside.shape)
    start = random.integers(0, 2, 3).tolist()
    box = Box.between(start, [at + size for at, size in zip(start, inside.shape, strict=True)])
    volume = tuple(stop + int(random.integers(0, 2)) for stop in box.stop)
    rule = Watershed(0.2 if flooded else 1.0, touch, (2.0, 1.0, 1.0))
    found = rule.parts(inside, box, volume, depth)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "has_one_peak", lambda *arguments: False)
        patch.setattr(splitting, "SMALL", -1)
        np.testing.assert_array_equal(found, rule.parts(inside, box, volume, depth))
