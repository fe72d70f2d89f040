"""Objects grow, and holes are filled, by blocks as in the whole volume."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import expand_labels
from stages import done, in_memory, spec

from tiler.geometry import Box, Grid
from tiler.jobs.components import ComponentsJob, Labelled
from tiler.jobs.grown import GrowJob
from tiler.jobs.holes import Filled, FillJob, background_of, for_holes
from tiler.objects.connectivity import REACH, Connectivity
from tiler.objects.growing import Growth
from tiler.sinks import open_sink
from tiler.stores.shelf import shelf_at


def cut(draw, top):
    shape = tuple(draw(st.integers(1, most)) for most in top)
    return shape, tuple(draw(st.integers(1, size)) for size in shape)


def grown(ids, block, growth):
    sink = open_sink(None, spec(ids.shape, ids.dtype, block))
    sink.create()
    grid = Grid(Box.of_shape(ids.shape), block)
    done(GrowJob(in_memory(ids), sink, grid, growth), len(grid))
    return sink.array


def nearest(ids, growth):
    """Every voxel by itself."""
    places = np.argwhere(ids)
    out = ids.copy()
    for voxel in np.argwhere(ids == 0):
        near = places[(places[:, 0] == voxel[0]) | (not growth.flat)]
        squares = np.round((((near - voxel) * growth.sampling) ** 2).sum(axis=1), 9)
        if len(near) and squares.min() <= growth.reach**2:
            out[tuple(voxel)] = ids[tuple(near[squares == squares.min()].T)].min()
    return out


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_objects_grow_to_the_nearest_voxels_whatever_the_blocks(data):
    shape, block = cut(data.draw, (4, 9, 9))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    here = random.random(shape) < data.draw(st.sampled_from([0.02, 0.1, 0.5]))
    ids = random.integers(1, 9, shape, np.uint32) * here
    growth = Growth(data.draw(st.integers(1, 4)), data.draw(st.booleans()),
                    data.draw(st.sampled_from([(1.0, 1.0, 1.0), (2.5, 1.0, 1.0)])))
    np.testing.assert_array_equal(grown(ids.astype(np.uint32), block, growth), nearest(ids, growth))


def test_a_single_object_grows_as_by_scikit_image():
    ids = np.zeros((1, 30, 30), np.uint32)
    ids[0, 12:15, 9:20] = 5
    np.testing.assert_array_equal(grown(ids, (1, 7, 7), Growth(4, True)), expand_labels(ids[0], 4)[None])


def filled(mask, block, neighbours):
    grid = Grid(Box.of_shape(mask.shape), block)
    labelled = Labelled(in_memory(mask), grid, Connectivity(neighbours), shelf_at(None))
    background = background_of(labelled)
    found = done(ComponentsJob(background, for_holes), len(grid))
    done(FillJob(background, tuple(found[index]["count"] for index in range(len(grid)))), 1)
    view, out = Filled(labelled.labels, background), np.zeros_like(mask)
    for box in grid:
        out[box.slices] = view.read(box)[0]
    return out


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_holes_are_those_of_the_whole_volume(data):
    shape, block = cut(data.draw, (5, 9, 9))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    mask = (random.random(shape) < data.draw(st.sampled_from([0.5, 0.7, 0.9]))).astype(np.uint8)
    neighbours = data.draw(st.sampled_from(sorted(REACH)))
    around = {4: 2, 8: 1, 6: 3, 18: 1, 26: 1}[neighbours]
    if neighbours in (4, 8):
        whole = np.stack([ndimage.binary_fill_holes(section, ndimage.generate_binary_structure(2, around))
                          for section in mask])
    elif len(mask) == 1:
        whole = ndimage.binary_fill_holes(mask[0], ndimage.generate_binary_structure(2, min(2, around)))[None]
    else:
        whole = ndimage.binary_fill_holes(mask, ndimage.generate_binary_structure(3, around))
    np.testing.assert_array_equal(filled(mask, block, neighbours), whole)
