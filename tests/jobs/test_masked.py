"""Masks and backgrounds: the result inside is what it is without them, outside it is 0 and costs nothing."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from standins import LabelNet

import tiler
from tiler.errors import PlanError
from tiler.geometry import Box, Grid, Tile
from tiler.jobs.background import Foreground, Varied
from tiler.jobs.masked import Mask
from tiler.jobs.segment import narrowed
from tiler.running.journal import Journal
from tiler.sources import open_source
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(1, 250, (3, 61, 53), dtype=np.uint8)
TISSUE = np.zeros(VOLUME.shape, np.uint8)
TISSUE[:2, 20:50, 10:40] = 1


@pytest.mark.parametrize("block", ["8", "2x24x16", "4x64x64"])
@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_inside_a_mask_nothing_changes_and_outside_is_zero(block, executor):
    whole = tiler.segment(VOLUME, PoolingNet())
    found = tiler.segment(VOLUME, PoolingNet(), mask=TISSUE, block=block, executor=executor)
    np.testing.assert_array_equal(found, np.where(TISSUE > 0, whole, 0))


def test_a_region_of_a_masked_volume_is_that_region():
    found = tiler.segment(VOLUME, PoolingNet(), mask=TISSUE, roi="1:3,10:45,5:30", block="16")
    np.testing.assert_array_equal(found, tiler.segment(VOLUME, PoolingNet(), mask=TISSUE)[1:3, 10:45, 5:30])


class Counting(PoolingNet):
    """Knows how many tiles it was asked for."""

    asked = 0

    def __call__(self, batch):
        Counting.asked += len(batch)
        return super().__call__(batch)


def test_blocks_without_tissue_are_not_computed(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", VOLUME, photometric="minisblack")
    tifffile.imwrite(tmp_path / "tissue.tif", TISSUE, photometric="minisblack")
    asked = []
    for mask in (None, tmp_path / "tissue.tif"):
        Counting.asked = 0
        tiler.segment(tmp_path / "stack.tif", Counting(), tmp_path / "out.zarr", mask=mask, block="1x16x16", tile="22",
                      overwrite=True)
        asked.append(Counting.asked)
    records = Journal.load(tmp_path / "out.zarr.journal").records("model")
    blocks = Grid(Box.of_shape(VOLUME.shape), (1, 16, 16))
    assert {index for index, record in records.items() if record.get("skipped")} == {
        index for index, box in enumerate(blocks) if not TISSUE[box.slices].any()}
    assert asked[1] < 0.5 * asked[0]
    assert tiler.check(tmp_path / "out.zarr", model=PoolingNet()).sound
    told = zarr.open(tmp_path / "out.zarr").attrs["tiler"]["mask"]
    assert told == {"blocks": len(blocks), "skipped": sum(bool(each.get("skipped")) for each in records.values())}


def test_instances_do_not_join_across_what_is_masked():
    bar = np.ones(VOLUME.shape, np.uint8)
    bar[:, :, 25:27] = 0
    found = tiler.segment(VOLUME, LabelNet(), kind="instances", connectivity=26, mask=bar)
    assert not found[:, :, 25:27].any()
    assert not set(np.unique(found[:, :, :25])) & set(np.unique(found[:, :, 27:])) - {0}


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_what_is_segmented_does_not_depend_on_blocks(data):
    shape = tuple(data.draw(st.integers(1, top)) for top in (3, 150, 150))
    block = tuple(data.draw(st.integers(1, size)) for size in shape)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    volume = np.kron(random.integers(0, 2, (shape[0], 5, 5), np.uint8), np.ones((1, 30, 30), np.uint8))[
        :, :shape[1], :shape[2]]
    mask = open_source(random.integers(0, 2, tuple(data.draw(st.integers(1, size)) for size in shape), np.uint8))
    source = open_source(volume)
    for part in (Mask.over(mask, source), Foreground(source, 0)):
        whole = part.read(Box.of_shape(shape))
        for box in Grid(Box.of_shape(shape), block):
            np.testing.assert_array_equal(part.read(box), whole[box.slices])
        assert whole[volume > 0].all() or isinstance(part, Mask)


def test_a_coarse_mask_covers_the_volume_by_its_size():
    coarse = np.zeros((1, 2, 2), np.uint8)
    coarse[0, 0, 1] = 1
    inside = Mask.over(open_source(coarse), open_source(np.zeros((4, 6, 8), np.uint8))).read(Box.of_shape((4, 6, 8)))
    expected = np.zeros((4, 6, 8), bool)
    expected[:, :3, 4:] = True
    np.testing.assert_array_equal(inside, expected)


def test_a_mask_with_units_lies_where_it_says(tmp_path):
    """4 nm voxels under a mask of 8 nm that begins 8 nm further along y and holds less of x."""
    image, mask = (zarr.create_group(tmp_path / f"{name}.zarr") for name in ("image", "mask"))
    for group, shape, scale, offset in ((image, (8, 8), 4.0, [0.0, 0.0]), (mask, (3, 2), 8.0, [10.0, 2.0])):
        group.create_array("0", data=np.ones(shape, np.uint8))
        steps = [{"type": "scale", "scale": [scale] * 2}, {"type": "translation", "translation": offset}]
        axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "yx"]
        group.attrs["ome"] = {"version": "0.5", "multiscales": [
            {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}]}
    sources = [open_source(tmp_path / f"{name}.zarr") for name in ("mask", "image")]
    inside = Mask.over(*sources).read(Box.of_shape((1, 8, 8)))[0]
    expected = np.zeros((8, 8), bool)
    expected[2:, :4] = True
    np.testing.assert_array_equal(inside, expected)


def test_padding_is_background_and_single_dark_voxels_are_not():
    padded = np.zeros((1, 192, 192), np.uint8)
    padded[:, :130, :128] = VOLUME.max()
    padded[0, 40, 40] = 0
    inside = Foreground(open_source(padded), 0).read(Box.of_shape(padded.shape))
    assert inside[0, :192, :128].all()
    assert not inside[0, :, 128:].any()
    found = tiler.segment(padded, PoolingNet(), background=0)
    np.testing.assert_array_equal(found, np.where(inside, tiler.segment(padded, PoolingNet()), 0))


@pytest.mark.parametrize(("options", "message"), [
    ({"mask": 3}, "3 is neither a path nor an array"),
    ({"background": "dark"}, "'dark' is not a number that is finite"),
])
def test_what_is_no_mask_is_refused(options, message):
    with pytest.raises(PlanError, match=message):
        tiler.plan(VOLUME, PoolingNet(), **options)


def test_another_mask_is_another_result(tmp_path):
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", TISSUE, photometric="minisblack")
    tifffile.imwrite(tmp_path / "stack.tif", VOLUME, photometric="minisblack")
    plans = [tiler.plan(tmp_path / "stack.tif", PoolingNet(), mask=mask) for mask in (None, tmp_path / "a.tif")]
    assert plans[0].fingerprint != plans[1].fingerprint


def test_a_mask_that_leaves_nothing_of_the_region_is_said(caplog):
    found = tiler.segment(VOLUME, PoolingNet(), mask=TISSUE, roi="2:3,0:61,0:53")
    assert not found.any()
    assert "nothing is segmented: the mask" in caplog.text
    caplog.clear()
    tiler.segment(VOLUME, PoolingNet(), mask=TISSUE, roi="1:3,0:61,0:53")
    assert "nothing is segmented" not in caplog.text


def test_tiles_without_tissue_are_not_computed_inside_a_block():
    asked = []
    for mask in (None, TISSUE):
        Counting.asked = 0
        tiler.segment(VOLUME, Counting(), mask=mask, block="3x61x53", tile="22")
        asked.append(Counting.asked)
    assert asked[1] < asked[0] / 2


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_what_varies_does_not_depend_on_the_box_it_is_read_in(data):
    shape = (2, data.draw(st.integers(1, 200)), data.draw(st.integers(1, 200)))
    volume = np.zeros(shape, np.uint8)
    for _ in range(data.draw(st.integers(0, 4))):
        volume[tuple(data.draw(st.integers(0, size - 1)) for size in shape)] = 9
    part = Varied(open_source(volume))
    whole = part.read(Box.of_shape(shape))
    start = [data.draw(st.integers(0, size - 1)) for size in shape]
    box = Box.between(start, [data.draw(st.integers(at + 1, size)) for at, size in zip(start, shape, strict=True)])
    np.testing.assert_array_equal(part.read(box), whole[box.slices])
    assert whole[volume > 0].all()


def test_auto_leaves_out_cells_of_any_one_value_and_no_slivers():
    volume = np.random.default_rng(1).integers(0, 250, (1, 150, 129), dtype=np.uint8)
    volume[0, :64, :64], volume[0, 64:, :64], volume[0, :, 128:] = 255, 0, 7
    expected = np.ones(volume.shape, bool)
    expected[0, :, :64] = False
    np.testing.assert_array_equal(Varied(open_source(volume)).read(Box.of_shape(volume.shape)), expected)
    found = tiler.segment(volume, PoolingNet(), background="auto")
    np.testing.assert_array_equal(found, np.where(expected, tiler.segment(volume, PoolingNet()), 0))


def test_a_plan_counts_the_blocks_that_a_mask_leaves_out():
    plan = tiler.plan(VOLUME, PoolingNet(), mask=TISSUE, block="1x16x16", tile="22")
    blocks = Grid(Box.of_shape(VOLUME.shape), (1, 16, 16))
    skipped = sum(not TISSUE[box.slices].any() for box in blocks)
    assert plan.estimate.skipped == skipped > 0
    assert f"the mask leaves out {skipped} of the blocks" in str(plan)
    whole = tiler.plan(VOLUME, PoolingNet(), block="1x16x16", tile="22").estimate
    assert plan.estimate.flops == pytest.approx(whole.flops * (1 - skipped / len(blocks)))
    assert tiler.plan(VOLUME, PoolingNet(), background=0).estimate.skipped is None


def test_a_tile_writes_the_hull_of_what_is_chosen_in_steps():
    tile = Tile(Box.between((0, 0, 0), (1, 400, 400)), Box.between((0, 96, 96), (1, 352, 352)),
                Box.between((0, 4, 4), (1, 260, 260)))
    inside = np.zeros((1, 256, 256), bool)
    inside[0, 100:120, 7] = True
    found = narrowed(tile, inside)
    assert found.write == Box.between((0, 192, 96), (1, 256, 128))  # rows 196 to 216, column 103
    assert found.crop == Box.between((0, 100, 4), (1, 164, 36))
    assert narrowed(tile, np.ones((1, 256, 256), bool)) == tile
