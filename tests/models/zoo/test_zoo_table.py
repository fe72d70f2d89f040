"""The whole zoo at once: published parameter counts, classes of exactness, weights that come back."""

from __future__ import annotations

from pkgutil import resolve_name

import pytest
import torch
from torch import nn
from zoo_cases import count, on_meta, saved, varied

from tiler.models import UNet, load_model
from tiler.models.probe import derive
from tiler.models.zoo import registry
from tiler.models.zoo.unetpp import UNetPlusPlus


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)

PARAMETERS = [
    ("unet", {"classes": 1}, 31_030_593),
    ("unet", {}, 31_030_658),
    ("unet", {"in_channels": 3}, 31_031_810),
    ("unet", {"in_channels": 3, "classes": 1}, 31_031_745),
    ("unet", {"batch_norm": True}, 31_042_434),
    ("unet", {"in_channels": 3, "batch_norm": True}, 31_043_586),
    ("unet", {"base": 32, "classes": 1}, 7_759_521),
    ("unet-wide", {}, 9_282_246),  # left open: the paper prints 9.13 M, its repository has this
    ("unetpp", {}, 9_041_601),
    ("unetpp-ds", {}, 9_041_700),
    ("unetpp-ds", {"in_channels": 3}, 9_042_276),
    ("unetpp", {"depth": 1}, 100_961),
    ("unetpp", {"depth": 2}, 511_105),
    ("unetpp", {"depth": 3}, 2_204_961),
    ("unetpp-bilinear", {"in_channels": 3}, 9_163_329),
    ("unetpp-corners", {"in_channels": 3, "heads": "accurate"}, 9_163_428),
    ("unet3plus", {}, 26_971_777),
    ("unet3plus-ds", {}, 26_989_637),
    ("unet3plus-cgm", {}, 26_991_687),
    ("fcn32s", {}, 134_346_581),  # all FCNs without the zeros of their deconvolutions
    ("fcn32s-fixed", {}, 134_346_581),
    ("fcn16s", {}, 134_357_354),
    ("fcn8s", {}, 134_362_751),
    ("fcn8s-at-once", {}, 134_362_751),
    ("fcn-alexnet", {}, 56_954_261),
    ("fcn-googlenet", {}, 5_995_077),  # left open: nobody published this head
    ("ciresan-n4", {}, 219_290),  # the activation that is left open has no weights
    ("ciresan-n65", {}, 270_746),  # left open: an approximation, the published layers are not to be had
    ("esfpnet-t", {}, 3_532_129),
    ("esfpnet-t", {"variant": "b1", "base": None}, 13_998_785),
    ("esfpnet-s", {}, 25_043_649),
    ("esfpnet-s", {"variant": "b3"}, 44_919_489),
    ("esfpnet-l", {}, 61_690_049),
    ("esfpnet-l", {"variant": "b5"}, 82_290_369),
    ("caunet", {}, 40_006_030),  # left open: nothing was published, the wiring is chosen
    ("caunet", {"classes": 1}, 40_005_965),
    ("caunet", {"in_channels": 1}, 40_004_878),
    ("gain-resnet50", {}, 23_512_130),
    ("gain-resnet50", {"classes": 1000}, 25_557_032),
]
OPEN = {"cnn-full-resolution"}
"""Networks of which no size was published."""
NARROW = {"unet": 2, "esfpnet-s": 2, "esfpnet-l": 1}
SLOW = {"esfpnet-t", "esfpnet-s", "esfpnet-l"}
"""Probed in seconds, which the first is in its own tests; the others have the same operators, many times over."""


@pytest.mark.parametrize(("name", "arguments", "parameters"), PARAMETERS,
                         ids=[f"{name}-{parameters}" for name, _, parameters in PARAMETERS])
def test_parameters(name, arguments, parameters):
    assert count(on_meta(name, **arguments)) == parameters


def test_every_network_is_in_the_table():
    assert {name for name, _, _ in PARAMETERS} | OPEN == set(registry.names())


@pytest.mark.parametrize("name", ["unet-wide", "fcn-googlenet", "ciresan-n65", "caunet", "cnn-full-resolution"])
def test_a_size_that_its_source_leaves_open_is_marked(name):
    assert registry.describe(name).left_open


def test_parameters_of_the_released_unet():
    """The last level of the released network is upsampled with 128 channels instead of 64; the rest is the paper's."""
    with torch.device("meta"):
        module = UNet()
        module.up[-1], module.dec[-1][0] = nn.ConvTranspose2d(128, 128, 2, 2), nn.Conv2d(192, 64, 3)
    assert count(module) == 31_100_354


def test_parameters_of_normalised_convolutions_without_a_bias():
    module = on_meta("unet", batch_norm=True)
    for block in (*module.enc, *module.dec):
        for layer in block:
            if isinstance(layer, nn.Conv2d):
                layer.bias = None
    assert count(module) == 31_036_546


def test_parameters_of_the_baselines_of_unet3plus():
    """Their code has 4x4 deconvolutions, no batch norm in the decoder, and 3x3 heads in the U-Net."""
    with torch.device("meta"):
        unet, nested = UNet(3, 1, batch_norm=True), UNetPlusPlus(3, 1, 64, heads="fast")
    ups = [layer for layer in unet.modules() if isinstance(layer, nn.ConvTranspose2d)]
    decoder_norm = sum(count(layer) for layer in unet.dec.modules() if isinstance(layer, nn.BatchNorm2d))
    assert count(unet) + 3 * sum(up.weight.numel() for up in ups) - decoder_norm + 8 * 64 == 39_396_033
    encoder_norm = 2 * 2 * sum(64 << level for level in range(5))
    assert count(nested) + 3 * sum(up.weight.numel() for up in nested.up.values()) + encoder_norm == 47_176_132


@pytest.mark.parametrize("name", sorted(set(registry.names()) - SLOW))
def test_the_class_of_exactness_is_what_the_probe_finds(name):
    module = on_meta(name, base=NARROW.get(name, 4))
    found = derive(module, module.arguments["in_channels"])
    assert found.exactness == registry.describe(name).exactness
    assert found.out_channels == module.arguments["classes"]


@pytest.mark.parametrize("name", registry.names())
@torch.no_grad()
def test_weights_come_back(tmp_path, name):
    module = varied(name, base=NARROW.get(name, 4)).eval()
    loaded = load_model(name, saved(tmp_path, name, module))
    assert (loaded.in_channels, loaded.ndim) == (module.arguments["in_channels"], 2)
    image = torch.randn(1, loaded.in_channels, *((96, 112) if name.startswith("ciresan") else (64, 64)))
    if name == "unet":
        image = torch.randn(1, 1, 188, 188)
    assert torch.equal(loaded.build()(image), module(image))


def test_arguments_of_a_network_are_all_that_is_needed_to_build_it_again():
    for name in registry.names():
        module = on_meta(name, base=4)
        again = resolve_name(registry.describe(name).factory)
        with torch.device("meta"):
            twin = again(**module.arguments)
        assert twin.arguments == module.arguments
        assert twin.state_dict().keys() == module.state_dict().keys()
