"""Networks of the field, staged: equal to one pass over the whole input."""

from __future__ import annotations

import pytest
import torch
from published_networks import NETWORKS
from torch import nn

from tiler.models.aten.modules import on_meta, quiet
from tiler.models.aten.random_weights import random_copy
from tiler.models.aten.staged_network import staged


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_stages_give_the_whole_pass(name):
    published = NETWORKS[name]
    try:
        with quiet():
            torch.manual_seed(0)
            module = published.build()
    except ImportError as missing:
        pytest.skip(f"not installed: {missing}")
    assert isinstance(module, nn.Module)
    worst = compared(module, published)
    assert worst <= 1e-10


def compared(module, published):
    """Largest difference of the two, as a share of the range, in float64 with small blocks."""
    module = random_copy(module, seed=0)
    with torch.no_grad(), quiet():
        x = torch.randn(1, published.channels, *published.size, dtype=torch.float64)
        expected = module(x)
        network = staged(on_meta(module), module, tuple(x.shape), 500)
        return float((network(x) - expected).abs().max() / (expected.max() - expected.min()))
