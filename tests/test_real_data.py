"""The law on electron micrographs: nothing that may be chosen about a run changes its result."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import tifffile
import torch

import tiler
from tiler.models.zoo.unet import UNet

FLOAT64 = 1e-12
FLOAT32 = 1e-5
"""Largest difference that the law allows, in parts of the range."""

RUNS = [
    {"tile": "116", "block": "41x37", "batch": 1, "executor": "serial"},
    {"tile": "132", "block": "2x64x64", "batch": 4, "executor": "threads"},
    {"tile": "1x164x140", "block": "100", "batch": 4, "executor": "serial"},
    {"tile": "auto", "block": "auto", "executor": "threads", "workers": 3},
]
CROPS = [np.s_[3:5, 17:190, 250:397], np.s_[20:21, 311:512, 0:131]]


@pytest.fixture(scope="module")
def stack(shared):
    """(30, 512, 512) uint8: serial-section TEM of the ISBI-2012 challenge."""
    return tifffile.imread(shared / "isbi2012" / "train-volume.tif")


def narrow(padding="valid"):
    torch.manual_seed(len(padding))
    return UNet(base=4, depth=3, padding=padding)


def segmented(volume, net, **options):
    return tiler.segment(volume, net, head="softmax", normalise="125,45", threads=1, **options)


def assert_law(results, tolerance):
    """All pairwise within the law's bound, which would mean nothing for a flat result."""
    spread = max(result.max() for result in results) - min(result.min() for result in results)
    assert spread > 0.1
    for one, other in itertools.combinations(results, 2):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * spread)


@pytest.mark.parametrize("crop", [CROPS[0], pytest.param(CROPS[1], marks=pytest.mark.slow)],
                         ids=["2x173x147", "1x201x131"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_odd_crops_in_double_precision(stack, crop, padding):
    net, volume = narrow(padding), stack[crop]
    # A network that keeps its size takes multiples of 8, the other one 4 more.
    tiles = {"valid": ["116", "132", "1x164x140", "auto"], "same": ["112", "128", "1x160x136", "auto"]}[padding]
    results = [segmented(volume, net, precision="float64", dtype="float64", border="mirror", **{**run, "tile": tile})
               for run, tile in zip(RUNS, tiles, strict=True)]
    assert_law([*results, one_pass(net, volume, padding)], FLOAT64)


def one_pass(net, volume, padding):
    """All of each section at once, mirrored by numpy: shares nothing with the engine."""
    # Before and after; without padding the network itself drops 44 of each, with it the margin is cut off here.
    low, high, cut = (44, 48, 0) if padding == "valid" else (48, 48, 48)
    widths = [(low, high + -length % 8) for length in volume.shape[1:]]
    canvas = np.pad(volume, [(0, 0), *widths], mode="reflect")
    with torch.inference_mode():
        x = (torch.from_numpy(canvas)[:, None].double() - 125) / 45
        result = torch.softmax(copy.deepcopy(net).double()(x), 1).numpy()[:, 1]
    return result[:, cut : cut + volume.shape[1], cut : cut + volume.shape[2]]


def test_averaging_over_the_square_in_double_precision(stack):
    net, volume = narrow(), stack[CROPS[0]]
    options = {"precision": "float64", "dtype": "float64", "average": "d4", "roi": "0:1,3:90,11:101"}
    averaged = [segmented(volume, net, **options, **run) for run in RUNS[1:]]
    assert_law(averaged, FLOAT64)
    plain = segmented(volume, net, **{**options, "average": "none"})
    assert np.abs(averaged[0] - plain).max() > 0.01


def test_a_region_that_starts_anywhere_in_double_precision(stack):
    net, volume = narrow(), stack[CROPS[0]]
    options = {"precision": "float64", "dtype": "float64"}
    whole = segmented(volume, net, **options)
    parts = [segmented(volume, net, roi="1:2,13:150,5:98", **options, **run) for run in RUNS]
    assert_law([*parts, whole[1:2, 13:150, 5:98]], FLOAT64)


def test_single_precision(stack):
    net, volume = narrow(), stack[CROPS[1]]
    assert_law([segmented(volume, net, **run) for run in RUNS], FLOAT32)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_stack_with_the_bundled_weights(shared, tmp_path):
    """Tiles of 700, 572 and 252 agree; so do the sections that were not seen in training with their labels."""
    source = shared / "isbi2012" / "train-volume.tif"
    labels = tifffile.imread(shared / "isbi2012" / "train-labels.tif")
    tiler.segment(source, "unet", tmp_path / "whole.npy", tile="700", batch=1)
    tiler.segment(source, "unet", tmp_path / "four.npy", tile="572", block="384", batch=4, executor="serial")
    whole, four = np.load(tmp_path / "whole.npy"), np.load(tmp_path / "four.npy")
    many = tiler.segment(source, "unet", tile="252", block="256", batch=4, roi="25:30,0:512,0:512")
    assert_law([whole, four], FLOAT32)
    assert_law([whole[25:30], many], FLOAT32)
    agreement = np.mean((whole[25:30] >= 0.5) == (labels[25:30] > 127))
    assert agreement > 0.91


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_averages_and_regions_with_the_bundled_weights(shared):
    source = shared / "isbi2012" / "train-volume.tif"
    region = "27:28,101:390,77:411"
    runs = [{"tile": "252", "block": "256", "batch": 4}, {"tile": "572", "block": "300", "batch": 1}]
    plain = [tiler.segment(source, "unet", roi=region, **run) for run in runs]
    assert_law(plain, FLOAT32)
    averaged = [tiler.segment(source, "unet", roi=region, average="d4", **run) for run in runs]
    assert_law(averaged, FLOAT32)
    assert np.abs(averaged[0] - plain[0]).max() > 0.01
