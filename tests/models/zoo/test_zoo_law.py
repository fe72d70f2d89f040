"""The law, for every registered network that is EXACT: tiles of two sizes or three give one pass, in float64.

Those that run in stages are in test_zoo_stages.py.
"""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn
from zoo_cases import TOLERANCE, saved, varied

import tiler
from tiler.errors import TilerError
from tiler.geometry import Footprint
from tiler.models.probe import Derivation, derive, prove
from tiler.models.zoo import registry

SHALLOW = {"base": 2, "depth": 2}
WIDTHS = {"fcn32s": 1, "fcn16s": 1, "fcn8s": 1, "fcn8s-at-once": 1, "fcn-alexnet": 4, "fcn-googlenet": 2}
NARROW = {
    "unet": SHALLOW, "unet-wide": SHALLOW, "unetpp": SHALLOW, "unetpp-ds": SHALLOW, "unetpp-bilinear": SHALLOW,
    "unet3plus": {**SHALLOW, "in_channels": 2}, "unet3plus-ds": {**SHALLOW, "in_channels": 2},
    "ciresan-n4": {"base": 2, "hidden": 3}, "ciresan-n65": {"base": 2, "hidden": 3},
    "cnn-full-resolution": {"base": 2},
    **{name: {"base": base, "classes": 2, "in_channels": 1} for name, base in WIDTHS.items()},
}
DROPPING = ("unet", "ciresan-n4", "ciresan-n65", "cnn-full-resolution")
"""Networks that drop voxels: they have no zero border."""
TWINS = {"fcn32s-fixed": "fcn32s"}
"""Networks that compute what another one does."""
OFTEN = ("fcn8s", "fcn-alexnet")
"""FCNs that are tested in every run; they take seconds each."""
CASES = [*((name, "mirror") for name in NARROW), *((name, "zero") for name in NARROW if name not in DROPPING)]
EXACT64 = {"device": "cpu", "precision": "float64", "dtype": "float64", "threads": 1, "head": "none",
           "classes": "all"}


@cache
def network(name: str) -> tuple[nn.Module, Derivation]:
    module = varied(name, **NARROW[name])
    return module, derive(module, module.arguments["in_channels"])


def image_and_strides(name: str, border: str) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Sizes of an image, and of tiles; with a zero border it must be longer than a tile to be cut at all."""
    reach = network(name)[1].footprint.axes[1]
    if name in WIDTHS:
        if border == "mirror":
            return (20, 2 * reach.stride + 1), (1, 2)
        # They take every size as it is: tiles give the plain call of an image only where its size is in phase.
        return (reach.smallest + 3 * reach.stride, reach.smallest % reach.stride + 2 * reach.stride), (1, 2, 3)
    if reach.stride == 1:
        return (45, 38), (11, 20, 45)
    return (reach.smallest + 50 if border == "zero" else 71, 58), (5, 8, 13)


def is_cut(size: tuple[int, int], tile: tuple[int, ...], footprint: Footprint, border: str) -> bool:
    """Whether it takes more than one tile to write an image."""
    most = tile if border == "zero" else footprint.core(tile)
    return any(length > written for length, written in zip(size, most[1:], strict=True))


def one_pass(module: nn.Module, volume: np.ndarray, footprint: Footprint, border: str) -> np.ndarray:
    """``(k, y, x)`` float64 scores of a ``(c, y, x)`` image, by numpy and torch alone."""
    shape, offsets, widths = volume.shape[1:], [], []
    for size, reach in zip(shape, footprint.axes[1:], strict=True):
        low = reach.low if border == "mirror" else 0
        surplus = (reach.low + reach.high - low - size) % reach.stride  # to the class of the legal tiles
        while border == "mirror" and surplus < reach.high:
            surplus += reach.stride
        widths.append((low, surplus))
        offsets.append(low - reach.shrink_low if low else 0)
    canvas = np.pad(volume, [(0, 0), *widths], mode="reflect")[None]
    with torch.inference_mode():
        result = copy.deepcopy(module).double()(torch.from_numpy(canvas).double())[0].numpy()
    return result[(slice(None), *(slice(a, a + size) for a, size in zip(offsets, shape, strict=True)))]


def slow_unless(quick: bool, *values: str):
    """A case of a parametrised test, which is left to the slow runs unless it is quick."""
    return pytest.param(*values, id="-".join(values), marks=[] if quick else pytest.mark.slow)


def test_the_table_is_complete():
    exact = {name for name in registry.names() if registry.describe(name).exactness == "EXACT"}
    assert set(NARROW) | set(TWINS) == exact


@pytest.mark.parametrize("name", [slow_unless(name not in WIDTHS or name in OFTEN, name) for name in NARROW])
def test_the_footprint_is_proved_and_one_voxel_less_fails(name):
    module, found = network(name)
    assert found.exactness == "EXACT"
    parts = prove(module, found.footprint, module.arguments["in_channels"], context=found.context,
                  swallows=found.swallows)
    assert [part.name for part in parts if part.passed] == ["context", "control", "agreement"], parts


@pytest.mark.parametrize(("name", "border"), [
    slow_unless(name not in WIDTHS or name in OFTEN, name, border) for name, border in CASES])
def test_tiled_is_whole(tmp_path, name, border):
    module, found = network(name)
    size, strides = image_and_strides(name, border)
    volume = np.random.default_rng(3).normal(size=(module.arguments["in_channels"], *size)).astype("f4")
    expected = one_pass(module, volume, found.footprint, border)
    assert expected.std() > 0.01
    weights = saved(tmp_path, name, module)
    tiles = [found.footprint.covering((1, *(cores * stride for stride in found.footprint.stride[1:])))
             for cores in strides]
    assert sum(is_cut(size, tile, found.footprint, border) for tile in tiles) >= 2
    for tile in tiles:
        tiled = tiler.segment(volume, name, axes="cyx", weights=weights, tile=tile, border=border, **EXACT64)
        tiled = np.asarray(tiled).reshape(expected.shape)
        assert np.abs(tiled - expected).max() <= TOLERANCE * np.ptp(expected), tile


@pytest.mark.parametrize("name", DROPPING)
def test_a_network_that_drops_voxels_has_no_zero_border(tmp_path, name):
    weights = saved(tmp_path, name, network(name)[0])
    with pytest.raises(TilerError, match="zero border"):
        tiler.segment(np.zeros((40, 40), "f4"), name, weights=weights, border="zero", **EXACT64)


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_computes_the_same(name):
    module, image = network(TWINS[name])[0], torch.randn(1, 1, 40, 50)
    twin = registry.build(name, **NARROW[TWINS[name]]).eval()
    twin.load_state_dict(module.state_dict())
    with torch.no_grad():
        assert torch.equal(twin(image), module(image))
