"""Context, stride, alignment and legal sizes from the probe, against published and computed numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from networks import (
    Anisotropic,
    Causal,
    Fcn32,
    Hourglass,
    Lambda,
    NestedUNet,
    PaddedSkips,
    PerPixelMlp,
    Strided,
    conv,
)
from torch import nn

from tiler.errors import ModelError, OutputShapeError
from tiler.models.probe import derive, probe
from tiler.models.probe.derivation import round_context
from tiler.models.probe.sizes import in_phase
from tiler.models.probe.trace import trace_forward
from tiler.models.zoo.unet import UNet

VALID = {2: (20, 20), 3: (44, 48), 4: (92, 96), 5: (188, 192)}
"""Context before and after, by depth."""


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_valid_unet(depth):
    reach = derive(UNet(base=2, depth=depth), 1).footprint.axes[-1]
    low, high = VALID[depth]
    shrink, stride = 6 * 2**depth - 4, 2**depth
    assert (reach.low, reach.high, reach.stride) == (low, high, stride)
    assert (reach.shrink_low, reach.shrink_high) == (shrink, shrink)
    assert reach.in_phase(stride * 40 + 4 * (stride - 1))


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_same_unet(depth):
    found = derive(UNet(base=2, depth=depth, padding="same"), 1)
    stride = 2**depth
    assert found.context.low[1:] == found.context.high[1:] == (6 * stride - 2,) * 2
    assert found.footprint.low[1:] == found.footprint.high[1:] == (6 * stride,) * 2
    assert found.footprint.stride[1:] == (stride, stride)
    assert found.footprint.keeps_size
    assert found.border == "zero"


def test_legal_sizes_of_the_published_unet():
    found = derive(UNet(base=2), 1)
    assert found.border == "mirror"
    assert found.footprint.admits((1, 572, 572))
    assert not found.footprint.admits((1, 570, 572))
    assert found.footprint.nearest((1, 570, 570)) == ((1, 556, 556), (1, 572, 572))
    assert found.footprint.smallest == (1, 204, 204)
    assert found.footprint.core((1, 572, 572)) == (1, 384, 384)


@pytest.mark.parametrize("network", [UNet(base=2, depth=3), UNet(base=2, depth=3, padding="same")])
def test_sizes_in_phase_are_those_at_which_every_pooling_is_even(network):
    """Against the network itself: hooks on its pooling say which sizes reach it odd."""
    reach = derive(network, 1).footprint.axes[-1]
    seen: list[int] = []
    for pool in network.pool:
        pool.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[-1]))
    for size in range(96, 96 + 17):
        seen.clear()
        try:
            network(torch.zeros(1, 1, size, size))
        except RuntimeError:  # a skip that does not fit: some pooling was odd
            assert any(n % 2 for n in seen)
        assert reach.in_phase(size) == all(n % 2 == 0 for n in seen)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_network_without_parameters_is_traced_without_data(ndim):
    """In three axes, a trace of values starts with gigabytes."""
    devices = set()

    class Passing(nn.Module):
        def forward(self, x):
            devices.add(x.device.type)
            return x.clone()

    found = derive(Passing(), 1, ndim)
    assert devices == {"meta"}
    assert found.exactness == "EXACT"
    assert found.footprint.smallest == (1, 1, 1)


def test_a_network_that_accepts_any_size_is_in_phase_only_at_some():
    network = PaddedSkips()
    assert network(torch.zeros(1, 1, 33, 35)).shape[2:] == (33, 35)
    reach = derive(network, 1).footprint.axes[-1]
    assert [size for size in range(32, 41) if reach.in_phase(size)] == [32, 36, 40]


@pytest.mark.parametrize("network", [UNet(base=2, depth=3), PaddedSkips(), Strided()],
                         ids=lambda network: type(network).__name__)
def test_ending_hopeless_passes_early_changes_no_size(network):
    """Against a search of which every pass runs to its end."""
    network, sought, whole = network.eval(), [], []

    def ending(sizes, unwanted=lambda _: False):
        sought.append(trace_forward(network, 1, sizes, unwanted))
        return sought[-1]

    def running_on(sizes, unwanted=None):
        whole.append(trace_forward(network, 1, sizes))
        return whole[-1]

    assert in_phase(ending, 2, 256).sizes == in_phase(running_on, 2, 256).sizes
    assert sum(len(trace.nodes) for trace in sought) <= sum(len(trace.nodes) for trace in whole)
    if isinstance(network, UNet | Strided):
        ended = [trace for trace in sought if "EnoughError" in str(trace.error)]
        assert ended
        assert max(len(trace.nodes) for trace in ended) < max(len(trace.nodes) for trace in whole)


def test_even_strided_convolutions_are_halved_though_their_last_window_is_half_used():
    found = derive(Strided(), 1)
    assert found.exactness == "EXACT"
    assert found.context.low[1:] == (7, 7)
    assert found.context.high[1:] == (4, 4)
    assert found.footprint.axes[-1].in_phase(32)
    assert not found.footprint.axes[-1].in_phase(34)


def test_fcn32_has_an_asymmetric_context_and_sizes_at_which_no_pool_ceils():
    found = derive(Fcn32(), 1)
    assert (found.context.low[1], found.context.high[1]) == (221, 215)
    assert found.footprint.stride[1:] == (32, 32)
    assert found.footprint.low[1:] == (224, 224)
    assert all(found.footprint.axes[1].in_phase(n) == ((n + 198) % 32 == 0) for n in range(500, 564))


def test_nested_unet_with_bilinear_upsampling():
    found = derive(NestedUNet(), 1)
    assert found.context.low[1:] == found.context.high[1:] == (110, 110)
    assert found.footprint.low[1:] == found.footprint.high[1:] == (112, 112)


def test_each_axis_of_an_anisotropic_network_has_its_own():
    found = derive(Anisotropic(), 1, ndim=3)
    assert found.footprint.stride == (1, 2, 2)
    assert found.footprint.shrink_low == (1, 0, 0)
    assert found.context.low == found.context.high == (1, 3, 3)
    assert found.border == "mirror"


def test_context_may_lie_on_one_side_only():
    found = derive(Causal(), 1)
    assert (found.context.low, found.context.high) == ((0, 3, 0), (0, 0, 5))


@pytest.mark.parametrize(("middle", "more"), [
    (PerPixelMlp(), 0),
    (nn.GroupNorm(2, 4), 0),
    (conv(4, 4, padding_mode="reflect"), 2),
    (conv(4, 4, dilation=3, padding=3), 6),
    (nn.Sequential(conv(4, 16), nn.PixelShuffle(2), conv(4, 4, stride=2)), 4),
    (nn.AvgPool2d(5, 1, 2), 4),
    (nn.Softmax(1), 0),
], ids=["mlp", "group norm", "reflect", "dilated", "pixel shuffle", "average", "softmax"])
def test_context_of_a_layer_at_half_resolution(middle, more):
    """`more` voxels than the hourglass alone needs, at the side where it needs most."""
    needed = derive(Hourglass(middle), 1).context
    assert max(needed.low[1], needed.high[1]) == 5 + more


def test_a_centre_crop_of_an_odd_surplus_leaves_the_larger_half_behind():
    reach = derive(nn.Conv2d(1, 2, 4), 1).footprint.axes[-1]
    assert (reach.shrink_low, reach.shrink_high) == (1, 2)


def test_an_output_that_leans_to_one_side_is_aligned_by_what_it_depends_on():
    reach = derive(Lambda(lambda x: x[:, :, :, 5:] * 2), 1).footprint.axes[-1]
    assert (reach.shrink_low, reach.shrink_high) == (5, 0)


def test_rounding_keeps_the_phase_of_the_shrink_and_of_the_legal_sizes():
    reach = round_context(low=93, high=97, shrink_low=92, shrink_high=92, stride=16, in_phase_at=572)
    assert reach.low % 16 == 92 % 16
    assert (reach.low, reach.high) == (108, 112)
    assert reach.in_phase(572)


def test_the_module_is_left_as_it_was():
    network = UNet(base=2, depth=2, batch_norm=True, dropout=0.5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    probe(network, 1)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


class DecidesByValue(nn.Module):
    """Runs only where there are data."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        return self.conv(x) if float(self.conv.bias[0]) > -10 else x


def test_what_does_not_run_without_data_is_traced_with_data():
    found = derive(DecidesByValue(), 1)
    assert found.context.low == (0, 1, 1)


def test_wrong_channels_are_told_in_the_network_s_own_words():
    with pytest.raises(ModelError, match=r"runs at no size that was tried with 1 input channels.*3 channels"):
        derive(nn.Conv2d(3, 2, 3), 1)


def test_several_outputs_are_refused():
    with pytest.raises(OutputShapeError, match="returns a tuple where one tensor"):
        derive(Lambda(lambda x: (x, F.relu(x))), 1)
