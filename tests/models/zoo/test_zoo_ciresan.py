"""The sliding window: patch form, dense form, and what the one costs more than the other."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from zoo_cases import on_meta, varied

from tiler.errors import ModelError
from tiler.models.probe import derive
from tiler.models.zoo.ciresan import LAYOUTS, SlidingWindowNet


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def flops(function, *shape):
    with FlopCounterMode(display=False) as counter:
        function(torch.zeros(*shape, device="meta"))
    return counter.get_total_flops() / 2  # it counts a multiply-add as two


@pytest.mark.parametrize(("variant", "used"), [("n4", 95), ("n65", 60)])
def test_what_is_used_of_a_window(variant, used):
    assert LAYOUTS[variant].used == used


def test_the_maps_of_n4_are_those_of_the_paper():
    module, sizes = on_meta("ciresan-n4", base=1), []
    for layer in module.convolutions:
        layer.register_forward_hook(lambda layer, inputs, output: sizes.extend((inputs[0].shape[-1],
                                                                                output.shape[-1])))
    assert module.classify(torch.zeros(3, 1, 95, 95, device="meta")).shape == (3, 2)
    assert sizes == [95, 92, 46, 42, 21, 18, 9, 6]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("name", ["ciresan-n4", "ciresan-n65"])
@torch.no_grad()
def test_the_dense_form_is_the_patch_form(name, activation):
    module = varied(name, base=3, hidden=5, activation=activation).double()
    layout = module.layout
    image = torch.randn(1, 1, layout.window + 9, layout.window + 6, dtype=torch.float64)
    dense = module(image)
    assert dense.shape[2:] == (layout.window + 10 - layout.used, layout.window + 7 - layout.used)
    for row, column in [(0, 0), (3, 5), (9, 6)]:
        patch = image[..., row:row + layout.window, column:column + layout.window]
        torch.testing.assert_close(module.classify(patch)[0], dense[0, :, row, column], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "window", "redundancy"), [("ciresan-n4", 95, 554.9), ("ciresan-n65", 65, 178.3)])
def test_redundancy_of_the_patch_form(name, window, redundancy):
    """Work for one patch over the dense form's work for one pixel, which is the slope along y and x."""
    module = on_meta(name)
    patch = flops(module.classify, 1, 1, window, window)
    size = 512
    corners = [flops(module, 1, 1, size + down, size + right) for down in (0, 1) for right in (0, 1)]
    pixel = corners[0] - corners[1] - corners[2] + corners[3]
    assert patch / pixel == pytest.approx(redundancy, abs=0.05)
    if name == "ciresan-n4":
        assert patch == pytest.approx(121.46e6, rel=1e-4)
        assert pixel == 218_896
        assert patch * 512**2 == pytest.approx(31.84e12, rel=1e-3)


def test_geometry():
    for name, used in (("ciresan-n4", 95), ("ciresan-n65", 60)):
        found = derive(on_meta(name, base=1), 1)
        assert (found.exactness, found.border, found.footprint.stride) == ("EXACT", "mirror", (1, 1, 1))
        assert found.footprint.low[1] + found.footprint.high[1] == used - 1
    assert derive(on_meta("ciresan-n4", base=1), 1).footprint.shrink_low == (0, 47, 47)
    found = derive(on_meta("cnn-full-resolution", base=1), 1)
    assert (found.footprint.low, found.footprint.high) == ((0, 8, 8), (0, 8, 8))


@pytest.mark.parametrize("wrong", [{"variant": "n1"}, {"activation": "gelu"}, {"base": 0}])
def test_impossible_arguments_of_the_window_are_refused(wrong):
    with pytest.raises(ModelError, match=r"sliding-window|activation"):
        SlidingWindowNet(**wrong)
