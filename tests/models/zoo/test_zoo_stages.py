"""Registered networks that look at their whole input give the plain call of it: statistics, corners, attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from zoo_cases import saved, varied

import tiler
from tiler.models.probe import probe
from tiler.models.zoo import registry

WIDE = {"device": "cpu", "precision": "float64", "dtype": "float64", "threads": 1, "head": "none", "classes": "all",
        "executor": "serial", "execution": "stages"}
ZOO = {"caunet": {"base": 2, "depth": 1, "rates": (1,), "in_channels": 1},
       "unet3plus-cgm": {"base": 2, "depth": 1, "in_channels": 1},
       "unetpp-corners": {"base": 2, "depth": 1, "in_channels": 1}}
STATISTICS = {"caunet": 3, "unet3plus-cgm": 1, "unetpp-corners": 0}
IMAGE = np.random.default_rng(3).normal(size=(35, 47)).astype("f4")
"""No size that these networks take."""


@pytest.fixture(params=ZOO)
def registered(request, tmp_path):
    module = varied(request.param, **ZOO[request.param])
    return request.param, module, saved(tmp_path, request.param, module)


def test_what_they_need_is_counted(registered):
    name, module, _ = registered
    report = probe(module, 1, prove=False, stages=True)
    assert report.exactness == "STAGES"
    assert report.staging.statistics == STATISTICS[name]


def plain(module, image):
    """``(k, y, x)``: the plain call of an image that is mirrored up to a size that the network takes."""
    canvas = np.pad(image, [(0, -size % 2) for size in image.shape], mode="reflect").astype("f8")
    with torch.no_grad():
        return module.double()(torch.from_numpy(canvas)[None, None])[0, :, :image.shape[0], :image.shape[1]].numpy()


def test_the_table_is_complete():
    staged = {name for name in registry.names() if registry.describe(name).exactness == "STAGES"}
    assert staged - set(ZOO) == {"esfpnet-t", "esfpnet-s", "esfpnet-l"}  # those are in test_tiling_class.py


def test_every_network_is_the_plain_call_of_the_whole_image(registered):
    name, module, weights = registered
    expected = plain(module, IMAGE)
    assert expected.std() > 0.01 * np.ptp(expected)
    found = tiler.segment(IMAGE, name, weights=weights, **WIDE)
    assert np.abs(found.reshape(expected.shape) - expected).max() <= 1e-10 * np.ptp(expected)
    part = tiler.segment(IMAGE, name, weights=weights, roi="0:20,11:30", **WIDE)
    assert np.abs(part.reshape(-1, 20, 19) - expected[:, :20, 11:30]).max() <= 1e-10 * np.ptp(expected)


def test_averages_are_those_of_plain_calls(tmp_path):
    module = varied("caunet", **ZOO["caunet"])
    image = IMAGE[:34, :46]
    turned = [np.flip(plain(module, np.flip(image, axes)), [axis + 1 for axis in axes])
              for axes in ([], [0], [1], [0, 1])]
    found = tiler.segment(image, "caunet", weights=saved(tmp_path, "caunet", module), average="flip4", **WIDE)
    expected = np.mean(turned, axis=0)
    assert np.abs(found.reshape(expected.shape) - expected).max() <= 1e-10 * np.ptp(expected)
