"""Runs that store the tensors of their network on disk: the values of runs in memory, whatever happens on the way."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import staged_networks
import torch
from scipy import ndimage

import tiler

NAMES = ("planar", "volumes")
MODEL = {"device": "cpu", "threads": 1, "normalise": "0,255", "head": "softmax", "classes": "all"}
WIDE = {"precision": "float64", "dtype": "float64"}
SERIAL = {"executor": "serial"}
DISK = {**SERIAL, "block": (3, 64, 64)}
"""Blocks that are not those of a run in memory, whose tensors then are on disk, in blocks as large as there."""
SMALL = {**SERIAL, "block": (2, 9, 11)}
OBJECTS = {"kind": "instances", "classes": "1", "threshold": 0.5, "fill_holes": True, "split": "watershed",
           "seed_height": 0.5, "grow": 1, "min_size": 4}
SMOOTH = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(3, 41, 50)), (0.5, 2, 2))
STACK = np.round((SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH) * 255).astype(np.uint8)
TISSUE = np.zeros(STACK.shape, np.uint8)
TISSUE[1, 7:33, 12:40] = 1


@cache
def model(name, **options):
    """A network that is opened once for all tests."""
    return tiler.open_model(f"{staged_networks.__file__}:{name}", **{**MODEL, **options})


def one_pass(name):
    """Probabilities of a plain call."""
    module = getattr(staged_networks, name)().double()
    x = torch.from_numpy(STACK.astype("f8")) / 255
    with torch.no_grad():
        made = module(x[None, None])[0] if module.ndim == 3 else module(x[:, None]).movedim(0, 1)
    return made.softmax(0).numpy()


def files(output):
    """All bytes of an output but its provenance."""
    return {path.relative_to(output): path.read_bytes() for path in sorted(output.rglob("*"))
            if path.is_file() and path != output / "zarr.json"}


@pytest.fixture
def source(tmp_path):
    np.save(tmp_path / "in.npy", STACK)
    return tmp_path / "in.npy"


@pytest.mark.parametrize("average", ["none", "d4"])
@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_are_those_of_a_run_in_memory(name, average):
    opened = model(name, average=average)
    assert not tiler.plan(STACK, opened, **SERIAL).out_of_core
    assert tiler.plan(STACK, opened, **DISK).out_of_core
    np.testing.assert_array_equal(tiler.segment(STACK, opened, **DISK), tiler.segment(STACK, opened, **SERIAL))


@pytest.mark.parametrize("block", [(1, 8, 50), (3, 13, 7), (3, 41, 25)])
@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_any_size_give_the_plain_pass(name, block):
    found = np.asarray(tiler.segment(STACK, model(name, **WIDE), **SERIAL, block=block))
    expected = one_pass(name)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=1e-10 * np.ptp(expected))
