"""The proof passes for right footprints and fails for all that are a voxel off."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import Anisotropic, Causal, Fcn32, Hourglass, NestedUNet, PaddedSkips, Strided, conv
from torch import nn

from tiler.geometry import Footprint
from tiler.models.aten.modules import quiet
from tiler.models.probe import Context, derive, probe, prove, require_tiled
from tiler.models.probe.rules import POINTWISE
from tiler.models.zoo.unet import UNet


def failed(parts):
    return [part.name for part in parts if not part.passed]


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_unets_are_proved(depth, padding):
    report = probe(UNet(base=2, depth=depth, padding=padding, batch_norm=depth == 3), 1)
    assert report.exactness == "EXACT"
    assert report.proved, str(report)
    assert [part.name for part in report.proof] == ["context", "control", "agreement"]
    assert require_tiled(report) == report.footprint


@pytest.mark.parametrize(("network", "ndim"), [
    (UNet(base=2, depth=1, ndim=3), 3), (Anisotropic(), 3), (Strided(), 2), (Causal(), 2), (PaddedSkips(), 2),
    (nn.Sequential(conv(1, 4), nn.MaxPool2d(3, 2, 1), nn.Upsample(scale_factor=2), conv(4, 2)), 2),
    (nn.Sequential(nn.MaxPool3d((1, 2, 2)), nn.Conv3d(1, 4, 3, padding=1),
                   nn.Upsample(scale_factor=(1, 2, 2), mode="trilinear")), 3),
    (NestedUNet(), 2), (Fcn32(), 2), (Hourglass(up=nn.Upsample(scale_factor=2, mode="bicubic")), 2),
], ids=lambda value: type(value).__name__)
def test_other_networks_are_proved(network, ndim):
    report = probe(network, 1, ndim)
    assert report.exactness == "EXACT"
    assert report.proved, str(report)


@pytest.fixture(scope="module")
def unet():
    network = UNet(base=2, depth=4)
    return network, derive(network, 1)


@pytest.mark.parametrize(("side", "by", "part"), [
    ("low", -1, "context"), ("high", -1, "context"), ("low", 1, "control"), ("high", 1, "control"),
])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_context_one_voxel_off_is_caught(unet, side, by, part, axis):
    network, found = unet
    values = list(getattr(found.context, side))
    values[axis] += by
    # A wider context needs a wider tile to spoil: the footprint grows by a stride.
    footprint = found.footprint if by < 0 else replace(
        found.footprint, **{side: tuple(v + s for v, s in zip(getattr(found.footprint, side),
                                                              found.footprint.stride, strict=True))})
    parts = prove(network, footprint, 1, context=replace(found.context, **{side: tuple(values)}))
    assert failed(parts) == [part]


def test_ninety_two_on_both_sides_is_caught(unet):
    network, found = unet
    assert failed(prove(network, replace(found.footprint, high=found.footprint.low), 1)) == ["run"]
    symmetric = Context(found.context.low, found.context.low)
    assert failed(prove(network, found.footprint, 1, context=symmetric)) == ["context"]


def test_half_the_stride_is_caught(unet):
    network, found = unet
    assert failed(prove(network, replace(found.footprint, stride=(1, 8, 8)), 1))
    network = UNet(base=2, depth=3, padding="same")
    footprint = replace(derive(network, 1).footprint, stride=(1, 4, 4))
    assert failed(prove(network, footprint, 1))


def test_any_size_is_not_in_phase_for_a_network_that_pads_its_skips():
    network = PaddedSkips()
    declared = replace(derive(network, 1).footprint, stride=(1, 1, 1))
    assert "agreement" in failed(prove(network, declared, 1))


def test_a_declared_footprint_is_proved_without_its_unrounded_context(unet):
    network, found = unet
    assert not failed(prove(network, found.footprint, 1))
    wider = replace(found.footprint, low=(0, 108, 108))
    assert not failed(prove(network, wider, 1))


def test_a_network_that_does_not_vary_proves_nothing():
    class Flat(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 1e-6

    assert failed(probe(Flat(1, 2, 3, padding=1), 1).proof) == ["agreement"]


SCALARS = {"clamp": (0.1,), "threshold": (0.1, 0.2), "pow": (2.0,)}


@pytest.mark.parametrize("name", sorted(POINTWISE))
def test_operators_taken_to_carry_nan_do(name):
    packet = getattr(torch.ops.aten, name)
    overload = packet.default if "default" in packet.overloads() else packet.Tensor if (
        "Tensor" in packet.overloads()) else getattr(packet, packet.overloads()[0])
    if name == "pow":
        overload = packet.Tensor_Scalar
    kinds = [str(a.type) for a in overload._schema.arguments if not a.has_default_value()]
    tensors = [place for place, kind in enumerate(kinds) if kind == "Tensor"]
    for spoilt in tensors[:1] if name == "_prelu_kernel" else tensors:
        values = [torch.full((1, 3, 4), float("nan") if place == spoilt else 0.5, dtype=torch.float64)
                  if kind == "Tensor" else 0.5 for place, kind in enumerate(kinds)]
        with quiet():
            result = overload(*values[:1], *SCALARS[name]) if name in SCALARS else overload(*values)
        result = result[0] if isinstance(result, tuple) else result
        assert result.isnan().all()


@st.composite
def autoencoders(draw):
    """Convolutions of any kind around one pooling and one upsampling by the same factor."""
    factor = draw(st.integers(1, 4))

    def convs(a):
        kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 2))
        return [nn.Conv2d(a, 4, kernel, padding=draw(st.integers(0, 2)), dilation=dilation), nn.ReLU()]

    down = draw(st.sampled_from([nn.MaxPool2d(factor), nn.AvgPool2d(factor + 1, factor, 1),
                                 nn.Conv2d(4, 4, factor + 1, stride=factor)]))
    padding = draw(st.integers(0, factor - 1))
    up = draw(st.sampled_from([
        nn.Upsample(scale_factor=factor), nn.Upsample(scale_factor=factor, mode="bilinear"),
        nn.ConvTranspose2d(4, 4, factor, stride=factor),
        nn.ConvTranspose2d(4, 4, 2 * factor, stride=factor, padding=padding)]))
    return nn.Sequential(*convs(1), down, *convs(4), up, nn.Conv2d(4, 2, draw(st.integers(1, 3))))


@given(network=autoencoders())
@settings(deadline=None, max_examples=25, derandomize=True)
def test_whatever_is_derived_is_proved_to_the_voxel(network):
    found = derive(network, 1)
    # None: the paddings make the output larger than the input at every size.
    assume(isinstance(found.footprint, Footprint))
    assert found.exactness == "EXACT"
    parts = prove(network, found.footprint, 1, context=found.context)
    assert not failed(parts), (network, found, *map(str, parts))
