"""CBAM, ASPP and the network made of them."""

from __future__ import annotations

import pytest
import torch
from zoo_cases import count, on_meta, varied

from tiler.errors import ModelError
from tiler.models.probe import derive
from tiler.models.zoo.aspp import ASPP
from tiler.models.zoo.caunet import CAUNet
from tiler.models.zoo.cbam import CBAM, ChannelGate


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(("channels", "parameters"), [(64, 680), (128, 2_284), (256, 8_564), (512, 33_412),
                                                      (1024, 132_260)])
def test_parameters_of_cbam(channels, parameters):
    assert count(CBAM(channels)) == parameters


def test_parameters_of_the_parts():
    with torch.device("meta"):
        assert count(ASPP(1024, 1024)) == 8_917_504
    module = on_meta("caunet")
    assert sum(count(gate) for gate in module.gates) == 44_940
    assert count(module) - 44_940 - 8_917_504 == 31_043_586


@torch.no_grad()
def test_the_channel_gate_by_hand():
    gate = ChannelGate(2, 16)
    first, _, second = gate.mlp
    first.weight.copy_(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1))
    second.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    first.bias.zero_()
    second.bias.zero_()
    x = torch.tensor([[[[1.0, 3.0]], [[0.0, 1.0]]]])
    hidden = (2 + 2 * 0.5) + (3 + 2 * 1)  # of the means, and of the maxima
    weights = torch.sigmoid(torch.tensor([hidden, -hidden]))
    torch.testing.assert_close(gate(x), x * weights.view(1, 2, 1, 1))


@torch.no_grad()
def test_the_spatial_gate_looks_at_the_maximum_first():
    gate = CBAM(3)[1].eval()
    gate.near[0].weight.zero_()
    gate.near[0].weight[0, 0, 3, 3] = 1.0
    x = torch.rand(1, 3, 5, 5)
    expected = x * torch.sigmoid(x.amax(1, keepdim=True) / (1 + gate.near[1].eps) ** 0.5)
    torch.testing.assert_close(gate(x), expected)


@torch.no_grad()
def test_a_rate_beyond_the_map_sees_its_centre_only():
    branch = varied("caunet", base=2, depth=1).pyramid.branches[3][0]
    assert branch.dilation == (18, 18)
    x = torch.randn(1, 4, 14, 14)
    centre = torch.nn.functional.conv2d(x, branch.weight[..., 1:2, 1:2])
    torch.testing.assert_close(branch(x), centre)


@pytest.mark.parametrize(("rates", "needed", "rounded"), [((6, 12, 18), 382, 384), ((2, 4, 6), 190, 192)])
def test_local_context(rates, needed, rounded):
    found = derive(on_meta("caunet", base=1, rates=rates), 3)
    assert (found.exactness, found.border) == ("STAGES", "zero")
    assert found.context.low[1:] == found.context.high[1:] == (needed, needed)
    assert found.footprint.low[1:] == found.footprint.high[1:] == (rounded, rounded)


@torch.no_grad()
def test_tiles_are_not_exact():
    module = varied("caunet", base=2, depth=2, rates=(1, 2)).double().eval()
    report = derive(module, 3)
    low, stride = report.footprint.low[1], report.footprint.stride[1]
    image = torch.randn(1, 3, *[3 * low + 2 * stride] * 2, dtype=torch.float64)
    whole, tile = module(image), module(image[..., :2 * low + stride, :2 * low + stride])
    core = slice(low, low + stride)
    extent = whole.max() - whole.min()
    assert (whole[..., core, core] - tile[..., core, core]).abs().max() > 1e-4 * extent


def test_training_needs_a_batch_of_two():
    module = CAUNet(base=1, depth=1)
    assert module(torch.randn(2, 3, 8, 8)).shape == (2, 2, 8, 8)
    with pytest.raises(ValueError, match="more than 1 value"):
        module(torch.randn(1, 3, 8, 8))


def test_impossible_rates_are_refused():
    with pytest.raises(ModelError, match="CA-U-Net"):
        CAUNet(rates=())
