"""The classifier with guided attention."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from zoo_cases import count, on_meta, varied

from tiler.errors import ModelError, OutputShapeError
from tiler.models.losses.attention import guided_attention_loss
from tiler.models.probe import probe, require_tiled
from tiler.models.zoo.gain import GAINResNet50


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def narrow():
    return varied("gain-resnet50", base=2).double().eval()


def test_parameters_with_a_thousand_classes():
    assert count(on_meta("gain-resnet50", classes=1000)) == 25_557_032


def test_maps_of_a_frame_of_224():
    module = on_meta("gain-resnet50")
    explained = module.explain(torch.zeros(2, 3, 224, 224, device="meta"))
    assert explained.scores.shape == (2, 2)
    assert explained.attention.shape == (2, 1, 7, 7)
    assert module.body.channels == 2048


def test_the_attention_map_is_grad_cam(narrow):
    """The gradient by autograd, against the weight of the linear layer."""
    image = torch.randn(2, 3, 128, 96, dtype=torch.float64)
    maps = narrow.body(image).detach().requires_grad_()
    scores = narrow.fc(narrow.pool(maps).flatten(1))
    varying = 0
    for category in (0, 1):
        (gradient,) = torch.autograd.grad(scores[:, category].sum(), maps, retain_graph=True)
        cam = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
        low, high = cam.amin((2, 3), keepdim=True), cam.amax((2, 3), keepdim=True)
        explained = narrow.explain(image, category)
        assert (explained.attention.amax((2, 3)) == (high > low).double()[..., 0, 0]).all()
        torch.testing.assert_close(explained.attention * (high - low), cam - low, rtol=0, atol=1e-12)
        torch.testing.assert_close(explained.scores, narrow(image), rtol=0, atol=1e-12)
        varying += int((high > low).sum())
    assert varying >= 2  # a map where nothing speaks for the class is 0


def test_attention_that_is_the_same_everywhere_is_nothing(narrow):
    explained = narrow.explain(torch.zeros(1, 3, 32, 32, dtype=torch.float64))
    assert explained.attention.tolist() == [[[[0.0]]]]


def test_the_loss_of_attention_reaches_the_body(narrow):
    narrow.requires_grad_()
    explained = narrow.explain(torch.randn(2, 3, 64, 64, dtype=torch.float64))
    mask = torch.zeros(2, 1, 64, 64, dtype=torch.float64)
    mask[0, :, 10:20, 10:20] = 1
    guided_attention_loss(explained.scores, torch.tensor([1, 0]), explained.attention, mask, share=1.0).backward()
    gradient = narrow.body.conv1.weight.grad
    narrow.requires_grad_(False)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@torch.no_grad()
def test_scores_are_the_mean_over_positions(narrow):
    """So that a classification, too, is a sum over cores."""
    image = torch.randn(1, 3, 96, 128, dtype=torch.float64)
    at = F.conv2d(narrow.body(image), narrow.fc.weight[:, :, None, None], narrow.fc.bias)
    assert at.shape == (1, 2, 3, 4)
    torch.testing.assert_close(at.mean((2, 3)), narrow(image), rtol=0, atol=1e-12)


def test_it_is_run_on_whole_images():
    report = probe(on_meta("gain-resnet50", base=2), 3)
    assert report.exactness == "WHOLE"
    with pytest.raises(OutputShapeError, match="cannot be tiled"):
        require_tiled(report)


def test_the_stride_lies_in_the_3x3_convolutions():
    body = GAINResNet50(base=1).body
    assert body.layer2[0].conv2.stride == (2, 2)
    assert body.layer2[0].conv1.stride == (1, 1)
    with pytest.raises(ModelError, match="GAIN"):
        GAINResNet50(base=0)
