"""UNet 3+: full-scale skips, side outputs, guidance by classification."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from zoo_cases import on_meta, varied

from tiler.errors import ModelError
from tiler.models.probe import derive, probe
from tiler.models.zoo.unet3plus import ABSENT, UNet3Plus


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_a_level_joins_five_branches_of_equal_width():
    module = on_meta("unet3plus")
    sources = [[branch[0].in_channels for branch in level] for level in module.branches]
    assert sources == [[64, 320, 320, 320, 1024], [64, 128, 320, 320, 1024], [64, 128, 256, 320, 1024],
                       [64, 128, 256, 512, 1024]]
    assert all(fuse[0].in_channels == fuse[0].out_channels == 320 for fuse in module.fuse)


def test_work_on_a_tile_of_320():
    with FlopCounterMode(display=False) as counter:
        on_meta("unet3plus")(torch.zeros(1, 3, 320, 320, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(309, abs=0.5)


def test_geometry():
    found = derive(on_meta("unet3plus", base=1), 3)
    assert (found.exactness, found.footprint.stride, found.border) == ("EXACT", (1, 16, 16), "zero")
    assert found.context.low[1:] == found.context.high[1:] == (110, 110)
    assert found.footprint.low[1:] == found.footprint.high[1:] == (112, 112)
    with pytest.raises(RuntimeError, match=r"[Ss]izes"):
        on_meta("unet3plus", base=1)(torch.zeros(1, 3, 330, 330, device="meta"))


def test_guidance_looks_at_the_whole_input():
    report = probe(UNet3Plus(base=2, depth=2, deep_supervision=True, classification=True), 3)
    assert report.exactness == "STAGES"
    assert "classifier.2 (AdaptiveMaxPool2d)" in str(report.offending[0])


def test_side_outputs_have_full_resolution_and_the_first_is_the_networks():
    module = varied("unet3plus-ds", base=2, depth=3)
    image = torch.randn(2, 3, 16, 24)
    outputs, presence = module.supervised(image)
    assert [tuple(side.shape) for side in outputs] == [(2, 1, 16, 24)] * 4
    assert presence is None
    assert torch.equal(outputs[0], module(image))
    assert [head.in_channels for head in module.heads] == [8, 8, 8, 16]


@pytest.fixture(scope="module")
def guided():
    return varied("unet3plus-cgm", base=2, depth=2).eval()


def decided(module, there, kind=torch.float32):
    """Scores of a network whose classifier always decides ``there``, by weights of 0 and its bias."""
    layer = module.classifier[1]
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(there))
    return module.to(kind)(torch.ones(1, 3, 8, 8, dtype=kind))


def test_an_absent_object_has_probability_zero_and_not_one_half(guided):
    """The trap: scores multiplied by 0 become 0.5 behind the sigmoid."""
    plain = decided(guided, [0.0, 1.0])
    absent = decided(guided, [1.0, 0.0])
    assert (absent.sigmoid() == 0).all()
    assert (decided(guided, [0.3, 0.3]).sigmoid() == 0).all()  # a tie: strictly more is needed
    assert (plain.sigmoid() > 0).all()
    torch.testing.assert_close(absent, plain + ABSENT)
    assert (decided(guided, [1.0, 0.0], torch.bfloat16).sigmoid() == 0).all()
    assert torch.tensor(ABSENT, dtype=torch.float16).isfinite()


def test_with_several_classes_the_first_is_what_remains():
    module = varied("unet3plus-cgm", base=2, depth=1, classes=3).eval()
    probabilities = decided(module, [1.0, 0.0]).softmax(1)
    assert (probabilities[:, 0] == 1).all()
    assert (probabilities[:, 1:] == 0).all()


def test_presence_is_the_maximum_over_the_deepest_map(guided):
    seen = {}
    hook = guided.classifier[1].register_forward_hook(lambda layer, inputs, output: seen.update(map=output))
    _, presence = guided.float().supervised(torch.randn(2, 3, 16, 16))
    hook.remove()
    assert torch.equal(presence, seen["map"].amax((2, 3)))
    assert presence.shape == (2, 2)


def test_wrong_sizes_are_refused():
    with pytest.raises(ModelError, match=r"UNet 3\+"):
        UNet3Plus(depth=0)
