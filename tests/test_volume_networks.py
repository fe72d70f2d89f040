"""The law for networks of three axes, of flat voxels and of neighbouring slices, on isotropic FIB-SEM."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch

import tiler
from tiler.errors import ModelError
from tiler.models import UNet, open_predictor
from tiler.models.loading.slices_as_channels import SlicesAsChannels
from tiler.models.predictor.options import PredictorOptions

NETWORKS = {
    "valid": lambda: UNet(base=2, depth=1, ndim=3),
    "valid, flat voxels": lambda: UNet(base=1, depth=2, ndim=3, flat=1),
    "same": lambda: UNet(base=2, depth=1, ndim=3, padding="same"),
    "same, flat voxels": lambda: UNet(base=2, depth=1, ndim=3, flat=1, padding="same"),
    "2.5-D": lambda: SlicesAsChannels(UNet(base=2, depth=2, in_channels=5), 5),
}


@pytest.fixture(scope="module")
def volume(shared):
    """(7, 31, 28) uint8."""
    return tifffile.imread(shared / "fib25" / "sample2-raw.tif")[100:107, 60:91, 30:58]


def predictor_of(kind):
    torch.manual_seed(3)
    options = PredictorOptions(precision="float64", dtype="float64", head="softmax", normalise="125,45", threads=1)
    return open_predictor(NETWORKS[kind]().eval(), options=options)


def one_pass(predictor, volume, border):
    """All of the volume at once, padded by numpy to what the network takes."""
    axes = predictor.footprint.axes
    sizes = predictor.footprint.covering(volume.shape)
    if border == "zero":
        starts, widths = (0, 0, 0), [(0, -size % axis.stride) for size, axis in zip(volume.shape, axes, strict=True)]
    else:
        starts = tuple(axis.low - axis.shrink_low for axis in axes)
        widths = [(axis.low, full - axis.low - size)
                  for axis, full, size in zip(axes, sizes, volume.shape, strict=True)]
    result = predictor(np.pad(volume, widths, mode="reflect")[None, None])[0, 0]
    return result[tuple(slice(start, start + size) for start, size in zip(starts, volume.shape, strict=True))]


@pytest.mark.parametrize(("kind", "border"), [(kind, "mirror") for kind in NETWORKS] + [
    (kind, "zero") for kind in NETWORKS if kind.startswith("same")])
def test_tiled_is_one_pass(volume, kind, border):
    predictor = predictor_of(kind)
    truth = one_pass(predictor, volume, border)
    assert np.ptp(truth) > 0.05
    smallest = predictor.footprint.covering((1, 1, 1))
    stride = predictor.footprint.stride
    for cores in ((1, 4, 3), (0, 7, 5)):
        tile = "x".join(str(a + k * b) for k, a, b in zip(cores, smallest, stride, strict=True))
        found = tiler.segment(volume, predictor, axes="zyx", border=border, tile=tile, block="5x21x28")
        np.testing.assert_allclose(found, truth, rtol=0, atol=1e-12 * np.ptp(truth))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("flat", [0, 1], ids=["cubic", "flat voxels"])
def test_250_slices_of_250(shared, flat):
    volume = tifffile.imread(shared / "fib25" / "sample2-raw.tif")
    torch.manual_seed(3)
    options = PredictorOptions(precision="float64", dtype="float64", head="softmax", normalise="125,45")
    predictor = open_predictor(UNet(base=2, depth=2, ndim=3, flat=flat).eval(), options=options)
    truth = one_pass(predictor, volume, "mirror")
    assert np.ptp(truth) > 0.05
    for options in ({}, {"tile": "132x116x148", "block": "100x71x250"}):
        found = tiler.segment(volume, predictor, axes="zyx", **options)
        np.testing.assert_allclose(found, truth, rtol=0, atol=1e-12 * np.ptp(truth))


def test_flat_levels_keep_z():
    footprint = predictor_of("valid, flat voxels").footprint
    assert footprint.stride == (2, 4, 4)
    assert footprint.low[0] < footprint.low[1] == footprint.low[2]


def test_neighbouring_slices_are_context():
    footprint = predictor_of("2.5-D").footprint
    assert (footprint.low[0], footprint.high[0], footprint.stride[0]) == (2, 2, 1)


def test_slices_of_a_channel_stay_together():
    class Keep(torch.nn.Module):
        def forward(self, x):
            return x

    image = torch.arange(2 * 4 * 3 * 3.).reshape(1, 2, 4, 3, 3)
    result = SlicesAsChannels(Keep(), 3)(image)
    assert result.shape == (1, 6, 2, 3, 3)
    torch.testing.assert_close(result[0, :, 1], torch.cat([image[0, 0, 1:4], image[0, 1, 1:4]]))


@pytest.mark.parametrize("arguments", [{"ndim": 2, "flat": 1}, {"ndim": 3, "flat": 5}, {"ndim": 3, "flat": -1}])
def test_flat_levels_need_three_axes(arguments):
    with pytest.raises(ModelError, match="flat levels"):
        UNet(base=1, **arguments)


def test_an_even_number_of_slices_has_no_middle():
    with pytest.raises(ModelError, match="odd, got 4"):
        SlicesAsChannels(torch.nn.Identity(), 4)
