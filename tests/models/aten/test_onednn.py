"""oneDNN called by name gives what torch's convolution gives."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from tiler.models.aten.onednn import convolve, takes


@pytest.mark.parametrize(("ndim", "stride", "dilation", "groups"), [*product((2, 3), (1, 2), (1, 2), (1, 2, 4))])
def test_it_is_the_same_convolution(ndim, stride, dilation, groups):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 4, *(9, 12, 10)[:ndim]), torch.randn(8, 4 // groups, *(3,) * ndim), torch.randn(8)
    for padding, offset in product((0, 1, 2), (bias, None)):
        options = [stride] * ndim, [padding] * ndim, [dilation] * ndim
        made = convolve(x, weight, offset, *options, groups)
        wide = None if offset is None else offset.double()
        expected = torch.convolution(x.double(), weight.double(), wide, *options, False, [0] * ndim, groups)
        assert (made - expected).abs().max() <= 1e-6 * (expected.max() - expected.min())


def test_only_float32_slices_and_volumes_on_a_processor_go_that_way():
    assert takes(torch.zeros(1, 1, 3, 3)) == torch.backends.mkldnn.is_available()
    assert not takes(torch.zeros(1, 1, 0, 3))
    for other in (torch.zeros(1, 1, 3), torch.zeros(1, 1, 3, 3).double(), torch.zeros(1, 1, 3, 3, device="meta")):
        assert not takes(other)
        axes = other.ndim - 2
        weight = torch.zeros(1, 1, *[1] * axes, dtype=other.dtype, device=other.device)
        assert convolve(other, weight, None, [1] * axes, [0] * axes, [1] * axes, 1).shape == other.shape
