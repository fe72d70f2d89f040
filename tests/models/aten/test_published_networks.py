"""Networks of the field, staged: equal to one pass over the whole input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from published_networks import NETWORKS

import tiler
from tiler.models.aten.modules import on_meta, quiet
from tiler.models.aten.random_weights import random_copy
from tiler.models.aten.staged_network import staged


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_stages_give_the_whole_pass(name):
    assert compared(*built(name)) <= 1e-10


def built(name):
    """A network and how it was built; the test is skipped if its package is not installed."""
    published = NETWORKS[name]
    try:
        with quiet():
            torch.manual_seed(0)
            return published.build().eval(), published
    except ImportError as missing:
        pytest.skip(f"not installed: {missing}")


def compared(module, published):
    """Largest difference of the two, as a share of the range, in float64 with small blocks."""
    module = random_copy(module, seed=0)
    with torch.no_grad(), quiet():
        x = torch.randn(1, published.channels, *published.size, dtype=torch.float64)
        expected = module(x)
        network = staged(on_meta(module), module, tuple(x.shape), 500)
        return float((network(x) - expected).abs().max() / (expected.max() - expected.min()))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_engine_gives_the_whole_pass(name):
    """From the door: the network is probed, checked, planned and run as any other, whichever execution is chosen."""
    module, published = built(name)
    module = random_copy(module, seed=0)
    image = np.random.default_rng(0).random((published.channels, *published.size)).astype("f4")
    ndim = len(published.size)
    for attribute, value in (("in_channels", published.channels), ("ndim", ndim)):
        if not hasattr(module, attribute):
            setattr(module, attribute, value)
    options = {"head": "none", "classes": "all", "precision": "float64", "dtype": "float64", "device": "cpu"}
    axes = "cyx" if ndim == 2 else "czyx"
    found = tiler.segment(image, module, axes=axes, **options).reshape(-1, *published.size)
    with torch.no_grad(), quiet():
        made = module.double()(torch.from_numpy(image)[None].double())[0].numpy()
        if (margin := (image.shape[-1] - made.shape[-1]) // 2):  # it drops voxels: its input is mirrored
            wide = np.pad(image, [(0, 0), *[(margin, margin)] * ndim], mode="reflect")
            made = module(torch.from_numpy(wide)[None].double())[0].numpy()
    assert np.abs(found - made).max() <= 1e-10 * np.ptp(made)
