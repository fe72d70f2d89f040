"""The law for networks that are run in stages: neither blocks nor executor nor region change what is written."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from staged_networks import Pooled
from torch import nn

import tiler
from tiler.errors import MemoryBudgetError, ModelError
from tiler.models.aten import staged
from tiler.models.aten.random_weights import random_copy
from tiler.models.exporting.export import ExportOptions, export
from tiler.models.inference.network import _latest as opened

CPU = {"device": "cpu", "threads": 1, "normalise": "0,255", "head": "softmax", "classes": "all"}
WIDE = {**CPU, "precision": "float64", "dtype": "float64"}


class Normed(nn.Module):
    """A U-Net of two levels with instance norm, in 2 or 3 axes; it takes every size."""

    def __init__(self, ndim):
        super().__init__()
        self.ndim, self.in_channels = ndim, 1
        conv, norm = ((nn.Conv2d, nn.InstanceNorm2d), (nn.Conv3d, nn.InstanceNorm3d))[ndim - 2]
        self.fine = nn.Sequential(conv(1, 4, 3, padding=1), norm(4, affine=True), nn.LeakyReLU(inplace=True))
        self.coarse = nn.Sequential(conv(4, 8, 3, 2, 1), norm(8, affine=True), nn.LeakyReLU(inplace=True))
        self.last = conv(12, 3, 1)
        self.mode = ("bilinear", "trilinear")[ndim - 2]

    def forward(self, x):
        fine = self.fine(x)
        coarse = nn.functional.interpolate(self.coarse(fine), size=x.shape[2:], mode=self.mode)
        return self.last(torch.cat([fine, coarse], 1))


NETWORKS = {ndim: random_copy(Normed(ndim), 0).float() for ndim in (2, 3)}


def one_pass(module, volume):
    """``(k, z, y, x)`` of a plain call of each section, or of the volume."""
    x = torch.from_numpy(np.asarray(volume, "f8")) / 255
    with torch.no_grad():
        inputs = x[None, None] if module.ndim == 3 else x[:, None]
        scores = module.double()(inputs).softmax(1)
        module.float()
    return (scores[0] if module.ndim == 3 else scores.movedim(0, 1)).numpy()


@pytest.fixture(scope="module", params=["noise", "isbi2012"])
def stack(request):
    if request.param == "noise":
        return np.random.default_rng(0).integers(0, 255, (4, 61, 83), dtype=np.uint8)
    shared = request.getfixturevalue("shared")
    return tifffile.imread(shared / "isbi2012" / "train-volume.tif")[:3, :201, :155]


@pytest.mark.parametrize("ndim", [2, 3])
def test_stages_are_one_pass_over_each_section_or_the_volume(stack, ndim):
    expected = one_pass(NETWORKS[ndim], stack)
    found = tiler.segment(stack, NETWORKS[ndim], **WIDE)
    assert tiler.plan(stack, NETWORKS[ndim], **WIDE).staged
    assert np.abs(found - expected).max() <= 1e-12 * np.ptp(expected)


def test_pooling_in_three_axes_needs_no_legal_size():
    """Such networks are measured on inputs that survive their pooling, and refuse volumes that do not, in one line."""
    network, volume = random_copy(Pooled(4), 0).float(), np.random.default_rng(0).integers(0, 255, (9, 21, 18), "u1")
    expected = one_pass(network, volume)
    assert np.abs(tiler.segment(volume, network, **WIDE) - expected).max() <= 1e-12 * np.ptp(expected)
    with pytest.raises(ModelError, match=r"does not take an input of 7x21x18: .*too small"):
        tiler.segment(volume[:7], network, **WIDE)


@pytest.mark.parametrize("ndim", [2, 3])
def test_neither_blocks_nor_executor_nor_region_change_a_result(stack, ndim, monkeypatch):
    network, options = NETWORKS[ndim], {**CPU, "executor": "serial"}
    found = tiler.segment(stack, network, **options)
    np.testing.assert_array_equal(tiler.segment(stack, network, **CPU, executor="threads", workers=3), found)
    region = tiler.segment(stack, network, roi="1:3,10:37,21:50", **options)
    np.testing.assert_allclose(region, found[:, 1:3, 10:37, 21:50], atol=1e-5)
    for voxels in (500, 3000):
        monkeypatch.setattr(staged, "BLOCK_VOXELS", voxels)
        opened.clear()  # what was opened keeps its stages
        other = tiler.segment(stack, network, **options)
        np.testing.assert_allclose(other, found, atol=1e-5)


def test_a_run_in_stages_is_stored_checked_and_resumed(tmp_path, stack):
    np.save(tmp_path / "in.npy", stack)
    tiler.segment(tmp_path / "in.npy", NETWORKS[2], tmp_path / "out.zarr", average="flip4", **CPU)
    assert tiler.check(tmp_path / "out.zarr", model=NETWORKS[2]).sound


def test_a_volume_that_does_not_fit_into_memory_is_planned_on_disk_and_one_that_fits_nowhere_is_refused():
    volume = np.broadcast_to(np.zeros(1, np.uint8), (900, 900, 900))
    plan = tiler.plan(volume, NETWORKS[3], memory="3GB", **CPU)
    assert plan.out_of_core
    assert plan.scratch.bytes > 3e9 > plan.estimate.peak_bytes
    with pytest.raises(MemoryBudgetError, match=r"tensors on disk need \d+ MB"):
        tiler.plan(volume, NETWORKS[3], memory="1MB", **CPU)


def test_a_crop_of_a_real_volume(shared):
    volume = tifffile.imread(shared / "fib25" / "sample2-raw.tif")[:20, :40, :36]
    expected = one_pass(NETWORKS[3], volume)
    found = tiler.segment(volume, NETWORKS[3], **WIDE)
    assert np.abs(found - expected).max() <= 1e-12 * np.ptp(expected)


class Gates(nn.Module):
    """Global means, each of which depends on those before it."""

    def __init__(self, count):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(1 if not n else 2, 2, 3, padding=1) for n in range(count)])

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
            x = x * torch.sigmoid(x.mean((2, 3), keepdim=True))
        return x


def test_gates_are_statistics_of_the_whole_input():
    network, stack = random_copy(Gates(5), 0).float(), np.random.default_rng(0).integers(0, 255, (2, 41, 36), "u1")
    assert tiler.plan(stack, network, **WIDE).staged
    expected = np.concatenate([one_pass_of_slices(network, each) for each in stack], 1)
    assert np.abs(tiler.segment(stack, network, **WIDE) - expected).max() <= 1e-12 * np.ptp(expected)


def one_pass_of_slices(network, section):
    with torch.no_grad():
        scores = network.double()(torch.from_numpy(section[None, None].astype("f8")) / 255).softmax(1)
        network.float()
    return scores[0][:, None].numpy()


def test_what_is_exact_in_stages_only_is_not_exported(tmp_path):
    with pytest.raises(ModelError, match=r"exact in stages only.*normalises by the statistics of its whole input"):
        export(NETWORKS[2], tmp_path / "normed.pt", options=ExportOptions())
