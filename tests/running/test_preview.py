"""A preview is a window of the result, with the objects that instances would hold there."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import tiler
from tiler.errors import PlanError, SinkError
from tiler.geometry import Box
from tiler.report.preview import drawn, nice_length, spoken_length
from tiler.running import preview
from tiler.running.perform import Silent

VOLUME = np.random.default_rng(3).integers(0, 255, (5, 80, 94), dtype=np.uint8)


class Net(torch.nn.Module):
    """Two classes, or more."""

    def __init__(self, classes=2):
        super().__init__()
        torch.manual_seed(0)
        self.last = torch.nn.Conv2d(1, classes, 3, padding=1)

    def forward(self, x):
        return self.last(x)


class Telling(Silent):
    """Keeps the warnings."""

    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


COMMON = {"head": "softmax", "normalise": "volume"}


@pytest.fixture
def window(monkeypatch):
    monkeypatch.setattr(preview, "SIDE", 40)
    return np.s_[2, 20:60, 27:67]


def test_a_preview_is_the_middle_of_the_result(window):
    found = tiler.preview(VOLUME, Net(), **COMMON, kind="instances", min_size=4, block="16", tile=24)
    assert found.region == Box.between((2, 20, 27), (3, 60, 67))
    np.testing.assert_array_equal(found.image[0], VOLUME[window])
    whole = tiler.segment(VOLUME, Net(), **COMMON)
    np.testing.assert_allclose(found.values[0], whole[window], atol=1e-6)
    expected = tiler.segment(VOLUME, Net(), **COMMON, kind="instances", min_size=4, threshold=0.5,
                             roi="2:3,20:60,27:67")
    np.testing.assert_array_equal(found.objects, expected[0])
    assert found.count == expected.max() > 3
    assert found.expected_seconds > found.seconds > 0
    assert found.pixel is None


def test_a_preview_is_of_the_result_before_a_step_and_says_so(window):
    def step(ids):
        return ids.astype(np.uint32)

    told = Telling()
    found = tiler.preview(VOLUME, Net(), **COMMON, kind="instances", post=step, listener=told)
    assert told.warnings == ["the preview is of the result before `post`"]
    np.testing.assert_array_equal(found.values, tiler.preview(VOLUME, Net(), **COMMON).values)


def test_a_preview_of_several_classes_shows_the_most_likely(window):
    found = tiler.preview(VOLUME, Net(3), **COMMON)
    assert found.values.shape == (3, 40, 40)
    assert found.count > 3
    assert drawn(found).size == (3 * 280 + 16, 280 + 24)  # 40 pixels are magnified sevenfold
    with pytest.raises(PlanError, match="above a threshold are made of one class: choose one"):
        tiler.preview(VOLUME, Net(3), **COMMON, threshold=0.5, kind="instances")


def test_an_opened_model_and_a_region(window):
    model = tiler.open_model(Net(), kind="labels", **COMMON)
    found = tiler.preview(VOLUME, model, roi="0:1,0:30,0:94")
    assert found.region == Box.between((0, 0, 27), (1, 30, 67))
    assert found.values.dtype == np.float32


def test_the_picture_has_a_scale_bar_where_pixels_have_a_size(window, tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", VOLUME, imagej=True, resolution=(100, 100),
                     metadata={"axes": "ZYX", "unit": "um", "spacing": 0.05})
    found = tiler.preview(tmp_path / "v.tif", Net(), tmp_path / "p.png", **COMMON)
    assert found.pixel == pytest.approx((10, 10))
    with Image.open(tmp_path / "p.png") as picture:
        assert np.asarray(picture)[-13, 20].tolist() == [255, 255, 255]  # 100 nm of 400
        assert picture.info["Software"] == "tiler preview"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.png", "v.tif"]


def test_only_previews_are_replaced(window, tmp_path):
    with pytest.raises(SinkError, match=r"v.tif is no name of a picture: .* ends in .png, or put the inputs before"):
        tiler.preview(VOLUME, Net(), tmp_path / "v.tif", **COMMON)
    Image.new("L", (9, 9)).save(tmp_path / "mine.png")
    with pytest.raises(SinkError, match=r"exists and is no preview: overwrite=True replaces it"):
        tiler.preview(VOLUME, Net(), tmp_path / "mine.png", **COMMON)
    for overwrite in (True, False):
        tiler.preview(VOLUME, Net(), tmp_path / "mine.png", overwrite=overwrite, **COMMON)


@pytest.mark.parametrize(("most", "length"), [(300.0, "200 nm"), (999.9, "500 nm"), (5000.0, "5 \u00b5m"),
                                              (1.0, "1 nm"), (2.4e6, "2 mm")])
def test_lengths_of_scale_bars_are_round(most, length):
    assert spoken_length(nice_length(most)) == length
