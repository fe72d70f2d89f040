"""Integers only: spans, boxes, footprints, tiles and blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.errors import GeometryError
from tiler.geometry import Box, Footprint, Grid, Reach, Span, canvas_of, hull, reads_of, tiles_of

UNET = Footprint((0, 92, 92), (0, 96, 96), (0, 92, 92), (0, 92, 92), (1, 16, 16))
EXAMPLES = settings(deadline=None, max_examples=200)


@st.composite
def reaches(draw):
    stride, shrink = draw(st.integers(1, 16)), draw(st.integers(0, 20))
    return Reach(shrink + draw(st.integers(0, 20)), shrink + draw(st.integers(0, 20)), shrink, shrink, stride)


def test_a_span_cannot_end_before_it_starts():
    with pytest.raises(GeometryError, match="5:3"):
        Span(5, 3)


def test_spans_that_do_not_meet_have_an_empty_intersection():
    assert Span(0, 3).intersect(Span(5, 9)).size == 0
    assert Span(0, 6).intersect(Span(5, 9)) == Span(5, 6)


def test_hull_holds_all_boxes_and_no_more():
    boxes = [Box.between((0, 4), (2, 6)), Box.between((1, -3), (9, 5))]
    assert hull(boxes) == Box.between((0, -3), (9, 6))


@pytest.mark.parametrize(("tile", "core"), [(572, 384), (700, 512), (252, 64), (204, 16), (188, 0)])
def test_core_of_the_published_unet(tile, core):
    assert UNET.core((1, tile, tile)) == (1, core, core)


def test_legal_tiles_of_the_published_unet():
    assert UNET.admits((1, 572, 572))
    assert not UNET.admits((1, 570, 570))
    assert not UNET.admits((1, 188, 188)), "it survives every pooling, but nothing of it may be written"
    assert UNET.nearest((1, 570, 570)) == ((1, 556, 556), (1, 572, 572))
    assert UNET.nearest((1, 20, 20)) == ((1, 204, 204), (1, 204, 204))
    assert UNET.covering((1, 512, 512)) == (1, 700, 700)
    assert UNET.output((1, 572, 572)) == (1, 388, 388)


def test_context_smaller_than_what_the_model_drops_is_refused():
    with pytest.raises(GeometryError, match="smaller than what the model drops"):
        Footprint((1,), (4,), (2,), (2,), (1,))


@EXAMPLES
@given(reaches(), st.integers(1, 300))
def test_nearest_tiles_are_legal_and_bracket_the_wanted_one(reach, wanted):
    below, above = reach.nearest(wanted)
    assert reach.admits(below)
    assert reach.admits(above)
    assert above >= wanted
    assert below <= wanted or below == reach.smallest
    assert above - below in (0, reach.stride)


@EXAMPLES
@given(reaches(), st.integers(1, 300))
def test_covering_is_the_smallest_legal_tile_with_that_core(reach, core):
    tile = reach.covering(core)
    assert reach.admits(tile)
    assert reach.core(tile) >= core
    assert not reach.admits(tile - reach.stride) or reach.core(tile - reach.stride) < core


@EXAMPLES
@given(reaches(), st.integers(-50, 50), st.integers(1, 60), st.integers(1, 40))
def test_tiles_write_every_voxel_of_a_block_once_with_all_of_its_context(reach, start, size, core):
    block, tile = Box((Span(start, start + size),)), (reach.covering(core),)
    counts = np.zeros(size, int)
    tiles = tiles_of(block, tile, Footprint.of([reach]))
    assert reads_of(block.spans[0], *tile, reach) == (len(tiles), hull([piece.read for piece in tiles]).spans[0])
    for piece in tiles:
        counts[piece.write.back((start,)).slices] += 1
        first = piece.write.start[0] // reach.stride * reach.stride
        last = -(-piece.write.stop[0] // reach.stride) * reach.stride
        assert piece.read.shape == tile
        assert (piece.read.start[0] + reach.low) % reach.stride == 0, "out of phase"
        assert piece.read.start[0] + reach.low <= first
        assert last + reach.high <= piece.read.stop[0]
        assert piece.crop.shape == piece.write.shape
        assert piece.read.start[0] + reach.shrink_low + piece.crop.start[0] == piece.write.start[0]
    assert (counts == 1).all()


@EXAMPLES
@given(st.integers(1, 90), st.integers(1, 8), st.integers(0, 3), st.integers(1, 40), st.data())
def test_tiles_never_leave_a_canvas_and_keep_their_phase(size, stride, times, core, data):
    reach = Reach(times * stride, times * stride, 0, 0, stride)
    canvas = Box((canvas_of(Span(0, size), reach),))
    assert canvas.shape[0] % stride == 0
    assert 0 <= canvas.shape[0] - size < stride
    start = data.draw(st.integers(0, size - 1))
    block = Box((Span(start, data.draw(st.integers(start + 1, size))),))
    tile = (min(reach.covering(core), canvas.shape[0]),)
    tiles = tiles_of(block, tile, Footprint.of([reach]), canvas)
    found = reads_of(block.spans[0], *tile, reach, canvas.spans[0])
    assert found == (len(tiles), hull([piece.read for piece in tiles]).spans[0])
    for piece in tiles:
        assert canvas.contains(piece.read)
        assert piece.read.shape == tile
        assert piece.read.start[0] % stride == 0


def test_a_grid_makes_its_blocks_on_demand():
    grid = Grid(Box.of_shape((10**6, 10**6, 10**6)), (64, 64, 64))
    assert len(grid) == 15625**3
    assert grid[len(grid) - 1] == Box.between((999936,) * 3, (10**6,) * 3)
    with pytest.raises(IndexError):
        grid[len(grid)]


@EXAMPLES
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 7), st.integers(1, 5)), min_size=1, max_size=3))
def test_blocks_partition_a_region(axes):
    region = Box(tuple(Span(start, start + size) for start, size, _ in axes))
    counts = np.zeros(region.shape, int)
    for box in Grid(region, tuple(step for *_, step in axes)):
        counts[box.back(region.start).slices] += 1
    assert (counts == 1).all()


def test_a_block_without_voxels_is_refused():
    with pytest.raises(GeometryError, match="at least one voxel"):
        Grid(Box.of_shape((4, 4)), (0, 4))
