"""Shift and stitch equals the rarefied filter, and both the sliding window."""

from __future__ import annotations

import pytest
import torch
from stitching import rarefied, shift_and_stitch
from torch import nn

from tiler.errors import ModelError


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def chain(*layers):
    torch.manual_seed(1)
    return nn.Sequential(*layers).double()


CHAINS = {
    "pooled": (lambda: chain(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3), nn.Tanh(),
                             nn.MaxPool2d(2), nn.Conv2d(4, 2, 2)), 4, 14),
    "overlapping": (lambda: chain(nn.Conv2d(1, 3, 5, stride=2), nn.MaxPool2d(3, 3), nn.Conv2d(3, 2, 2)), 6, 15),
}


@pytest.mark.parametrize("name", CHAINS)
@torch.no_grad()
def test_shift_and_stitch_is_the_rarefied_filter(name):
    make, stride, window = CHAINS[name]
    module, image = make(), torch.randn(2, 1, 33, 29, dtype=torch.float64)
    stitched = shift_and_stitch(module, image, stride)
    assert stitched.shape[2:] == (33 - window + 1, 29 - window + 1)
    torch.testing.assert_close(rarefied(module)(image), stitched, rtol=0, atol=1e-10)
    for down, right in [(0, 0), (5, 7), (13, 2)]:
        patch = image[..., down:down + window, right:right + window]
        torch.testing.assert_close(module(patch)[..., 0, 0], stitched[..., down, right], rtol=0, atol=1e-10)


def test_the_wrong_stride_gives_something_else():
    make, stride, _ = CHAINS["pooled"]
    module, image = make(), torch.randn(1, 1, 33, 29, dtype=torch.float64)
    dense, wrong = rarefied(module)(image), shift_and_stitch(module, image, stride // 2)
    assert wrong.shape != dense.shape


def test_rarefying_leaves_the_network_alone():
    module = CHAINS["pooled"][0]()
    rarefied(module)
    assert module[2].stride == 2
    assert module[3].dilation == (1, 1)


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), nn.AvgPool2d(2),
                                   nn.Sequential(nn.ReLU()), nn.Conv2d(1, 1, 3, stride=(1, 2))],
                         ids=["padding", "ceiling", "average", "nested", "two strides"])
def test_what_cannot_be_rarefied_is_refused(layer):
    with pytest.raises(ModelError, match=r"rarefied|pads"):
        rarefied(nn.Sequential(layer))
