"""Thresholds, holes, splits and growth in runs: whole-volume results, whatever the blocks and interruptions."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr
from scipy import ndimage
from standins import LabelNet, ProbabilityNet, Stopping

import tiler
from tiler.errors import Interrupted, MemoryBudgetError, PlanError
from tiler.geometry import Box
from tiler.objects.growing import Growth

SMOOTH = ndimage.gaussian_filter(np.random.default_rng(1).random((5, 48, 44)), (0, 2, 2))
VOLUME = np.round((SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH) * 249).astype(np.uint8)
EVERYTHING = {"threshold": 0.4, "fill_holes": True, "split": "watershed", "seed_height": 0.5, "grow": 2, "min_size": 5,
              "connectivity": 8, "link": 0.1}
ONE_BLOCK, MANY_BLOCKS = "8x64x64", "2x16x16"


def instances(net=None, **options):
    return tiler.segment(VOLUME, net or ProbabilityNet(), kind="instances", **options)


def above(threshold):
    return tiler.segment(VOLUME, ProbabilityNet()) > threshold


def by_section(mask):
    found = np.zeros(mask.shape, np.int64)
    for z, section in enumerate(mask):
        ids, _ = ndimage.label(section)
        found[z] = np.where(ids, ids + found.max(), 0)
    return found


@pytest.mark.parametrize("block", [ONE_BLOCK, MANY_BLOCKS])
def test_instances_are_where_the_probability_is_above_the_threshold(block):
    for threshold in (0.3, 0.6):
        found = instances(threshold=threshold, block=block)
        np.testing.assert_array_equal(found, by_section(above(threshold)))


@pytest.mark.parametrize("block", [ONE_BLOCK, MANY_BLOCKS])
def test_holes_are_filled_before_objects_are_made(block):
    full = np.stack([ndimage.binary_fill_holes(section, np.ones((3, 3))) for section in above(0.3)])
    assert (full != above(0.3)).any()
    np.testing.assert_array_equal(instances(threshold=0.3, fill_holes=True, block=block), by_section(full))


@pytest.mark.parametrize("block", [ONE_BLOCK, MANY_BLOCKS])
def test_objects_grow_after_they_are_numbered(block):
    whole = by_section(above(0.6))
    expected = Growth(3, flat=True).grown(whole, Box.of_shape(whole.shape))
    np.testing.assert_array_equal(instances(threshold=0.6, grow=3, block=block), expected)


@pytest.mark.parametrize("seeds", [
    {"seeds": "distance", "seed_height": 0.25}, {"seeds": "probability", "seed_height": 0.05}])
@pytest.mark.parametrize("neighbours", [4, 6])
def test_objects_that_touch_are_split(seeds, neighbours):
    options = {"split": "watershed", "threshold": 0.4, "connectivity": neighbours, **seeds}
    found, whole = instances(block=ONE_BLOCK, **options), instances(threshold=0.4, connectivity=neighbours)
    np.testing.assert_array_equal(found > 0, whole > 0)
    assert found.max() > whole.max()
    np.testing.assert_array_equal(instances(block=MANY_BLOCKS, executor="serial", **options), found)


def test_all_rules_at_once_whatever_blocks_and_interruptions(tmp_path):
    source, output, stops = tmp_path / "stack.tif", tmp_path / "out.zarr", 0
    tifffile.imwrite(source, VOLUME, photometric="minisblack")
    while True:
        listener = Stopping(after=40)
        try:
            tiler.segment(source, ProbabilityNet(), output, kind="instances", block=MANY_BLOCKS, resume=stops > 0,
                          listener=listener, stop=listener.stop, **EVERYTHING)
            break
        except Interrupted:
            stops += 1
    assert stops > 3
    np.testing.assert_array_equal(zarr.open(output / "0")[:], instances(block=ONE_BLOCK, **EVERYTHING))
    told = zarr.open(output).attrs["tiler"]["objects"]
    assert {name: told[name] for name in EVERYTHING if name != "split"} == {
        name: value for name, value in EVERYTHING.items() if name != "split"}
    assert told["split"] > 0
    assert tiler.check(output, model=ProbabilityNet()).sound
    assert not list(tmp_path.glob("*.stage*"))
    assert not list(tmp_path.glob("*.shelf*"))


def test_holes_and_growth_stay_out_of_what_is_masked():
    mask = np.ones(VOLUME.shape, np.uint8)
    mask[:, 10:14] = mask[:, 20:22, 20:24] = 0
    found = instances(mask=mask, block=MANY_BLOCKS, roi="1:4,2:40,3:40", **EVERYTHING)
    inside = mask[1:4, 2:40, 3:40] > 0
    assert not found[~inside].any()
    assert found[inside].any()
    np.testing.assert_array_equal(instances(mask=mask, block=ONE_BLOCK, roi="1:4,2:40,3:40", **EVERYTHING), found)


def test_objects_that_are_too_large_to_be_split_are_told():
    listener, said = Stopping(), []
    listener.warn = said.append
    instances(split="watershed", threshold=0.3, split_limit=50, listener=listener)
    assert [line for line in said if "stay whole, since their boxes hold more than 50 voxels" in line]


@pytest.mark.parametrize(("connectivity", "voxels"), [(4, 4000 * 3000), (6, 2**24), (26, 2**24)])
def test_the_plan_counts_the_memory_of_the_largest_split(connectivity, voxels, small_process):
    volume = np.broadcast_to(np.uint8(0), (50, 4000, 3000))
    options = {"kind": "instances", "threshold": 0.5, "split": "watershed", "connectivity": connectivity}
    plan = tiler.plan(volume, ProbabilityNet(), memory="4GiB", **options)
    assert plan.estimate.peak_bytes >= 120 * voxels
    with pytest.raises(MemoryBudgetError, match=r"splitting the largest objects needs .* lower split_limit="):
        tiler.plan(volume, ProbabilityNet(), memory="1GiB", **options)
    tiler.plan(volume, ProbabilityNet(), memory="1GiB", split_limit=10**6, **options)


def test_small_objects_need_no_wide_numbers_though_they_are_split():
    image = np.zeros((1, 522, 783), np.uint8)
    image[:, ::2, ::3] = image[:, ::2, 1::3] = 200
    image[:, :30, :30] = 200
    net, options = LabelNet((None,) * 3), {"min_size": 5, "dtype": "uint16", "split_limit": 1}
    found = tiler.segment(image, net, kind="instances", split="watershed", **options)
    np.testing.assert_array_equal(found, tiler.segment(image, net, kind="instances", min_size=5))
    assert found.max() == 1


@pytest.mark.parametrize(("net", "options", "message"), [
    (LabelNet(), {"threshold": 0.5}, "the opened model gives labels, instances are to be made of probabilities"),
    (ProbabilityNet(), {}, "the predictor gives probabilities, which cannot become instances"),
    (ProbabilityNet(classes=("a", "b")), {"threshold": 0.5}, "made of one class, the network has a, b"),
    (LabelNet(classes=("a", "b", "c")), {"fill_holes": True}, "holes are filled in instances of one class"),
])
def test_rules_that_the_network_does_not_allow_are_refused(net, options, message):
    for call in (tiler.plan, tiler.segment):
        with pytest.raises(PlanError, match=message):
            call(VOLUME, net, kind="instances", **options)


def test_rules_are_refused_where_there_are_no_objects():
    with pytest.raises(PlanError, match=r"probabilities have no objects: say kind=.*leave out grow="):
        tiler.plan(VOLUME, ProbabilityNet(), grow=2)


def test_files_for_fiji_show_masks_and_hold_instances_with_their_voxel_size(tmp_path):
    tifffile.imwrite(tmp_path / "brain.tif", VOLUME, imagej=True, resolution=(250, 250),
                     metadata={"axes": "ZYX", "unit": "micron", "spacing": 0.05})
    tiler.segment(tmp_path / "brain.tif", LabelNet(), tmp_path / "mask.tif", kind="labels")
    tiler.segment(tmp_path / "brain.tif", LabelNet(), tmp_path / "cells.tif", kind="instances", dtype="uint16")
    tiler.segment(tmp_path / "brain.tif", LabelNet(), tmp_path / "cells.ome.tif", kind="instances")
    for name in ("mask.tif", "cells.tif"):
        with tifffile.TiffFile(tmp_path / name) as tiff:
            told = tiff.imagej_metadata
            assert (told["unit"], told["spacing"]) == ("micron", 0.05)
            assert name == "cells.tif" or (told["min"], told["max"]) == (0, 1)
    with tifffile.TiffFile(tmp_path / "cells.ome.tif") as tiff:
        assert 'Name="brain"' in tiff.ome_metadata


def test_a_threshold_is_kept_where_several_inputs_share_a_network():
    from tiler.models.zoo.unet import UNet

    net = UNet(base=2, depth=1).eval()
    opened = tiler.open_model(net, kind="instances", threshold=0.4, head="softmax")
    found = [tiler.segment(VOLUME, model, **options) for model, options in (
        (opened, {}), (net, {"kind": "instances", "threshold": 0.4, "head": "softmax"}))]
    np.testing.assert_array_equal(*found)
    with pytest.raises(PlanError, match="threshold"):
        tiler.segment(VOLUME, opened, threshold=0.5)
