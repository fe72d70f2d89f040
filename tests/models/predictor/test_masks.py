"""`kind="mask"`: 255 where one class is, in every format, as every program shows it."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
import zarr
from standins import LabelNet

import tiler
from tiler.errors import ModelError, PlanError
from tiler.models.predictor.written import Labels, Mask, OneClass, Values, written_as
from tiler.running.results import Mask as MaskResult

VOLUME = np.random.default_rng(3).integers(0, 255, (2, 40, 44), dtype=np.uint8)


class Two(torch.nn.Module):
    """Two classes by their scores."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.last = torch.nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        return self.last(x)


@pytest.fixture(scope="module")
def model():
    return {kind: tiler.open_model(Two(), kind=kind, head="softmax", normalise="volume")
            for kind in ("mask", "labels", "probabilities")}


def test_a_mask_is_the_second_of_two_classes(model):
    mask, labels = (tiler.segment(VOLUME, model[kind]) for kind in ("mask", "labels"))
    assert mask.dtype == np.uint8
    assert 0.1 < labels.mean() < 0.9
    np.testing.assert_array_equal(mask, labels * 255)


def test_a_mask_above_a_threshold(model):
    mask = tiler.segment(VOLUME, Two(), kind="mask", head="softmax", normalise="volume", threshold=0.7)
    np.testing.assert_array_equal(mask, (tiler.segment(VOLUME, model["probabilities"]) > 0.7) * 255)


def test_a_mask_opens_white_on_black(model, tmp_path):
    tiler.segment(VOLUME, model["mask"], tmp_path / "m.tif")
    with tifffile.TiffFile(tmp_path / "m.tif") as file:
        assert file.imagej_metadata["max"] == 255.0
        assert file.imagej_metadata["min"] == 0.0
        assert set(np.unique(file.asarray())) == {0, 255}
    tiler.segment(VOLUME, model["mask"], tmp_path / "m.zarr")
    group = zarr.open(tmp_path / "m.zarr", mode="r")
    assert [entry["label-value"] for entry in group.attrs["ome"]["image-label"]["colors"]] == [0, 255]
    assert set(np.unique(group["0"][:])) == {0, 255}


@pytest.mark.parametrize("options", [{}, {"threshold": 0.6}])
def test_a_mask_is_checked(tmp_path, options):
    net, output = Two(), tmp_path / "m.npy"
    np.save(tmp_path / "v.npy", VOLUME)
    tiler.segment(tmp_path / "v.npy", net, output, kind="mask", head="softmax", normalise="volume", tile=24, block=16,
                  **options)
    report = tiler.check(output, model=net, windows=3)
    assert report.sound
    assert report.high == 255


def test_a_wrong_voxel_of_a_mask_is_as_wrong_as_its_probability_is_clear():
    computed = np.array([0.9, 0.55, 0.2]).reshape(1, 1, 1, 3)
    stored = np.array([255, 0, 0]).reshape(1, 1, 1, 3)
    assert MaskResult().difference(stored, computed, None) == pytest.approx(0.1)
    assert MaskResult(threshold=0.6).difference(stored, computed, None) == 0
    assert MaskResult(threshold=0.5).difference(stored, computed, None) == pytest.approx(0.05)


@pytest.mark.parametrize(("values", "classes", "threshold", "expected"), [
    (Values(("bg", "cell"), "none"), None, None, Labels(("bg", "cell"))),
    (Values(("bg", "cell"), "softmax"), None, 0.6, OneClass("cell", 1, 2, threshold=0.6)),
    (Values(("bg", "cell", "er"), "softmax"), "er", None, OneClass("er", 2, 3)),
    (Values(("cell",), "sigmoid"), None, None, OneClass("cell", 0, 1)),
])
def test_what_a_mask_is_made_of(values, classes, threshold, expected):
    assert written_as("mask", values, classes, "uint8", threshold) == Mask(expected)


def test_masks_that_mean_nothing_are_refused():
    with pytest.raises(ModelError, match=r"a mask shows one class, the network has bg, cell, er: name it"):
        written_as("mask", Values(("bg", "cell", "er"), "softmax"), None, "uint8")
    with pytest.raises(PlanError, match=r'mask has no objects: say kind="instances", or leave out grow='):
        tiler.plan(VOLUME, Two(), kind="mask", grow=2)
    with pytest.raises(PlanError, match=r"masks are written as uint8; got 'uint16'"):
        tiler.plan(VOLUME, Two(), kind="mask", dtype="uint16")
    with pytest.raises(PlanError, match=r"gives labels, which cannot become a mask"):
        tiler.plan(VOLUME, LabelNet(), kind="mask")
