"""TorchScript is probed like any module: by the operators that it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import Hourglass, SqueezeExcite

from tiler.models.probe import derive, probe

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
PUBLISHED = (Path(__file__).parents[3].parent / "shared" / "data" / "bioimageio" / "unet2d_nuclei_broad"
             / "weights.pt")


@pytest.mark.parametrize("make", [lambda m: torch.jit.trace(m, torch.zeros(1, 1, 16, 16)), torch.jit.script],
                         ids=["traced", "scripted"])
def test_a_script_module_has_the_footprint_of_its_module(make):
    network = Hourglass().eval()
    script = make(network)
    report = probe(script, 1)
    assert report.network == "Hourglass"
    assert report.footprint == derive(network, 1).footprint
    assert report.proved, str(report)


def test_a_global_layer_is_found_near_its_name():
    script = torch.jit.script(Hourglass(SqueezeExcite()).eval())
    report = probe(script, 1)
    assert report.exactness == "STAGES"
    assert "mean" in str(report.offending[0])
    assert "middle.0 (Conv2d)" in str(report.offending[0])


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published BioImage.IO network is not there")
def test_the_published_network():
    """Measured receptive field: -54 to +54 pixels; three poolings, bilinear upsampling."""
    script = torch.jit.load(PUBLISHED)
    report = probe(script, 1)
    assert report.exactness == "EXACT"
    assert report.proved, str(report)
    assert report.context.low == report.context.high == (0, 54, 54)
    assert report.footprint.low == report.footprint.high == (0, 56, 56)
    assert report.footprint.stride == (1, 8, 8)
    assert report.border == "zero"
