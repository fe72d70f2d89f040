"""Networks that no tiling computes exactly are named, layer and reason; and the proof alone finds them too."""

from __future__ import annotations

import re

import pytest
import torch
from networks import (
    Bottleneck,
    Classifier,
    Coordinates,
    Gate,
    Hourglass,
    ImagePooling,
    Lambda,
    NestedUNet,
    SelfAttention,
    SqueezeExcite,
    conv,
)
from torch import nn

from tiler.errors import ModelError, OutputShapeError, UnboundedContextError
from tiler.models.probe import derive, probe, prove, require_tiled

CORNERS = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
LAYERS = {
    "instance norm": (Hourglass(Bottleneck(nn.InstanceNorm2d(4))), r"bottleneck\.norm \(InstanceNorm2d\)"),
    "group norm": (Hourglass(Bottleneck(nn.GroupNorm(2, 4))), r"bottleneck\.norm \(GroupNorm\)"),
    "batch statistics": (Hourglass(nn.BatchNorm2d(4, track_running_stats=False)), r"bottleneck \(BatchNorm2d\)"),
    "coordinates": (Coordinates(), "forward of Coordinates: .*position"),
    "align_corners": (Hourglass(up=CORNERS), r"up \(Upsample\): align_corners=True"),
    "nested, align_corners": (NestedUNet(align_corners=True), r"up \(Upsample\): align_corners=True"),
    "attention": (Hourglass(SelfAttention()), r"bottleneck \(SelfAttention\): .*attention"),
    "softmax over x": (Hourglass(nn.Softmax(3)), r"bottleneck \(Softmax\): runs along"),
    "spread": (Hourglass(Lambda(lambda x: x / x.std((2, 3), keepdim=True))), r"bottleneck \(Lambda\): its std"),
    "grid of 4": (Hourglass(Lambda(lambda x: nn.functional.interpolate(
        nn.functional.adaptive_avg_pool2d(x, 4), size=x.shape[2:]))), r"bottleneck \(Lambda\): pools its whole"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_is_named(name):
    network, named = LAYERS[name]
    report = probe(network, 1)
    assert report.exactness == "STAGES"
    assert not report.proof
    with pytest.raises(UnboundedContextError, match=named):
        require_tiled(report)


@pytest.mark.parametrize("name", ["instance norm", "group norm", "coordinates", "align_corners", "attention",
                                  "softmax over x", "spread"])
def test_the_proof_alone_finds_it(name):
    """With the footprint that the network would have without that layer."""
    network, _ = LAYERS[name]
    alike = Hourglass() if isinstance(network, Hourglass) else nn.Conv2d(1, 2, 3, padding=1)
    parts = {part.name: part for part in prove(network, derive(alike, 1).footprint, 1)}
    assert not parts["agreement"].passed
    assert "differ by" in parts["agreement"].detail
    # Coordinates and corners read no voxel outside of the context: only the comparison of tiles unmasks them.
    assert parts["context"].passed == (name in ("coordinates", "align_corners"))


@pytest.mark.parametrize("network", [Hourglass(SqueezeExcite()), Hourglass(ImagePooling())],
                         ids=["squeeze-excite", "image pooling"])
def test_global_pooling_is_exact_in_stages_only(network):
    report = probe(network, 1, stages=True)
    assert report.exactness == "STAGES"
    assert report.staging.statistics == len(report.offending)
    assert re.match(r"Hourglass: exact; \d statistics? of the whole input; 1 -> ", str(report))
    assert report.footprint == derive(Hourglass(), 1).footprint
    with pytest.raises(UnboundedContextError, match=r"bottleneck.*whole input"):
        require_tiled(report)
    assert not all(part.passed for part in prove(network, report.footprint, 1, context=report.context))


def test_parts_of_different_resolution_are_told():
    """Pooled by two and by three, cropped to one shape and added."""
    network = Lambda(lambda x: nn.functional.max_pool2d(x, 2)[:, :, :20, :20]
                     + nn.functional.max_pool2d(x, 3)[:, :, :20, :20])
    assert any(o.kind == "size" and "different resolution" in o.reason for o in probe(network, 1).offending)


def test_a_classifier_has_no_axis_left():
    report = probe(Classifier(), 1)
    assert report.exactness == "WHOLE"
    with pytest.raises(OutputShapeError, match=r"cannot be tiled.*\(1, 3\)|its mean"):
        require_tiled(report)


@pytest.mark.parametrize(("network", "said"), [
    (nn.MaxPool2d(2), "one voxel for every 2 x 2"),
    (nn.Conv2d(1, 1, 3, padding=2), "larger than the input"),
], ids=["pooled", "grown"])
def test_an_output_at_another_resolution_is_refused(network, said):
    with pytest.raises(OutputShapeError, match=said):
        require_tiled(probe(network, 1))


@pytest.mark.parametrize("swallow", [
    Gate(),
    Lambda(torch.nan_to_num),
    Lambda(lambda x: torch.fmax(x, torch.zeros_like(x))),
    Lambda(lambda x: x * (x > 0)),
    Lambda(lambda x: x.masked_fill(x < 0, 0.0)),
    Lambda(lambda x: x + x.argmax(1, keepdim=True)),
], ids=["where", "nan_to_num", "fmax", "comparison", "masked_fill", "argmax"])
def test_what_swallows_nan_cannot_be_proved(swallow):
    report = probe(Hourglass(swallow), 1)
    assert not report.proved
    with pytest.raises(ModelError, match=r"not proved.*cannot prove: bottleneck .* may swallow NaN"):
        require_tiled(report)
    declared = prove(Hourglass(swallow), report.footprint, 1)
    assert "cannot prove" in declared[0].detail


@pytest.mark.parametrize(("unknown", "said"), [
    (Lambda(lambda x: x.roll(1, 3)), "the operator roll is not known"),
    (conv(4, 4, padding_mode="circular"), "writes into a part"),
], ids=["roll", "circular"])
def test_what_is_not_understood_is_said(unknown, said):
    report = probe(Hourglass(unknown), 1)
    assert report.exactness == "STAGES"
    with pytest.raises(ModelError, match=f"cannot be derived: bottleneck .*{said}.*declare its footprint"):
        require_tiled(report)


def test_what_is_not_understood_can_be_declared_and_proved():
    """A shift that is local, spelled so that it is not known to the probe."""
    class Shift(nn.Module):
        def forward(self, x):
            rows = torch.arange(x.shape[2], device=x.device)
            return x.index_select(2, rows) * 2

    report = probe(Hourglass(Shift()), 1)
    assert report.offending[0].kind == "unknown"
    parts = prove(Hourglass(Shift()), derive(Hourglass(), 1).footprint, 1)
    assert all(part.passed for part in parts)


def test_the_report_reads_well():
    lines = str(probe(Hourglass(), 1)).splitlines()
    assert lines[0] == "Hourglass: exact in tiles with context, proved; 1 -> 2 channels, border zero"
    assert lines[1] == ("  y: context 6 before and 6 after (needs 5 and 5), drops 0 and 0, stride 2, "
                        "tiles 0 + 2 k from 14")
    assert all(line.startswith("  passed  ") for line in lines[3:])
