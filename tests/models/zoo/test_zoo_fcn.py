"""Fully convolutional networks: sizes, geometry, deconvolution, classifiers as convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zoo_cases import count, on_meta, varied

from tiler.errors import ModelError
from tiler.models.probe import derive
from tiler.models.zoo.alexnet import AlexNet
from tiler.models.zoo.bilinear import BilinearUpsampling, bilinear_kernel
from tiler.models.zoo.fcn import FCN
from tiler.models.zoo.vgg import VGG16


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(("name", "dense"), [
    ("fcn32s", 136_152_917), ("fcn16s", 134_815_994), ("fcn8s", 134_489_759), ("fcn-alexnet", 58_704_590)])
def test_parameters_with_the_zeros_of_dense_deconvolutions(name, dense):
    module = on_meta(name)
    ups = [layer for layer in module.modules() if isinstance(layer, BilinearUpsampling)]
    assert not any(list(layer.parameters()) for layer in ups)
    assert count(module) + sum(21**2 * layer.weight.shape[-1] ** 2 for layer in ups) == dense


def test_parameters_of_googlenet_with_an_even_kernel():
    """The count in the table is that of a 64 kernel, which would be off by half a pixel; ours is 63."""
    module = on_meta("fcn-googlenet")
    assert module.last.weight.shape[-1] == 63
    assert count(module) + 21**2 * 64**2 == 7_801_413


def test_learned_upsampling_is_diagonal_and_the_last_one_stays_fixed():
    module = FCN(base=1, classes=5, stride=8, learned=True)
    assert [up.weight.shape for up in module.up] == [(5, 1, 4, 4)] * 2
    assert all(isinstance(up.weight, nn.Parameter) for up in module.up)
    assert not list(module.last.parameters())
    torch.testing.assert_close(module.up[0].weight[3, 0].detach(), bilinear_kernel(4))


def centre_and_stride(layers, centre=0.0, stride=1):
    """Where in the input cell 0 of a map is centred, and how far apart its cells are."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel, step, padding = (value if isinstance(value, int) else value[0]
                                     for value in (layer.kernel_size, layer.stride, layer.padding))
            centre, stride = centre + ((kernel - 1) / 2 - padding) * stride, stride * step
    return centre, stride


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s", "fcn-alexnet", "fcn-googlenet"])
def test_scores_lie_on_the_pixels_that_they_are_about(name):
    """No crop is off by a pixel, nor by half of one."""
    module = on_meta(name, base=4)
    body, (kernel, crop, fused) = module.body, (module.geometry.kernel, module.geometry.crop, module.geometry.fused)
    centre, stride = centre_and_stride(body.modules())
    for pool, start in zip((4, 3), fused, strict=False):
        finer, step = centre_and_stride(layer for stage in body.stages[:pool] for layer in stage.modules())
        assert finer + step * (3 / 2 + start) == centre
        centre, stride = finer + step * start, step
    assert (kernel - 1) / 2 - crop == centre
    assert stride == module.last.stride


@pytest.mark.parametrize(("name", "low", "high"), [
    ("fcn32s", 221, 215), ("fcn16s", 221, 215), ("fcn8s", 221, 215), ("fcn-alexnet", 196, 191),
    ("fcn-googlenet", 359, 388)])
def test_contexts(name, low, high):
    found = derive(on_meta(name, base=4), 3)
    assert (found.exactness, found.border, found.footprint.stride) == ("EXACT", "zero", (1, 32, 32))
    assert found.context.low[1:] == (low, low)
    assert found.context.high[1:] == (high, high)


@pytest.mark.parametrize("name", ["fcn32s", "fcn8s", "fcn-alexnet", "fcn-googlenet"])
def test_any_size_keeps_its_size(name):
    module = on_meta(name, base=4, classes=2)
    for size in ((33, 40), (64, 97), (500, 333)):
        assert module(torch.zeros(1, 3, *size, device="meta")).shape == (1, 2, *size)


def test_an_unpadded_classifier_gives_a_grid_of_ten_by_ten_on_500_pixels():
    """The paper's comparison with 100 patches of 227."""
    with torch.device("meta"):
        body, caffe = VGG16(base=1, padding=0), AlexNet(base=4, padding=0)
    assert body(torch.zeros(1, 3, 500, 500, device="meta"))[-1].shape[2:] == (10, 10)
    assert body(torch.zeros(1, 3, 224, 224, device="meta"))[-1].shape[2:] == (1, 1)
    assert caffe(torch.zeros(1, 3, 227, 227, device="meta"))[-1].shape[2:] == (1, 1)
    assert caffe(torch.zeros(1, 3, 500, 500, device="meta"))[-1].shape[2:] == (10, 10)


def convolutionalised(layer: nn.Linear, kernel: tuple[int, int]) -> nn.Conv2d:
    """A fully connected layer on ``(n, channels, *kernel)`` maps as the convolution that it is, weights re-shaped.

    On a larger map it gives what the layer gives in every window of that size.
    J. Long, E. Shelhamer, T. Darrell: doi:10.1109/CVPR.2015.7298965, section 3.1.
    """
    channels = layer.in_features // (kernel[0] * kernel[1])
    convolution = nn.Conv2d(channels, layer.out_features, kernel, bias=layer.bias is not None)
    with torch.no_grad():
        convolution.weight.copy_(layer.weight.reshape(convolution.weight.shape))
        if layer.bias is not None and convolution.bias is not None:
            convolution.bias.copy_(layer.bias)
    return convolution.to(layer.weight.dtype)


@torch.no_grad()
def test_a_classifier_is_a_convolution():
    """VGG-16 with fully connected layers on one patch, and the same weights as convolutions."""
    torch.manual_seed(0)
    body = VGG16(base=2, padding=0).double().eval()
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16 * 49, 20), nn.ReLU(), nn.Linear(20, 4)).double()
    maps = nn.Sequential(convolutionalised(flat[1], (7, 7)), nn.ReLU(), convolutionalised(flat[3], (1, 1)))
    features = nn.Sequential(*body.stages)
    image = torch.randn(1, 3, 256, 224, dtype=torch.float64)
    grid = maps(features(image))
    assert grid.shape == (1, 4, 2, 1)
    for row in range(2):
        patch = features(image)[:, :, row:row + 7]
        torch.testing.assert_close(grid[..., row, 0], flat(patch), rtol=0, atol=1e-12)
    # A patch by itself: its lower cells see the padding's zeros, those of a larger image do not.
    torch.testing.assert_close(maps(features(image[:, :, :224]))[..., 0, 0], flat(features(image[:, :, :224])),
                               rtol=0, atol=1e-12)


@pytest.mark.parametrize(("size", "row"), [(3, [0.5, 1, 0.5]), (4, [0.25, 0.75, 0.75, 0.25]), (1, [1.0])])
def test_bilinear_kernels(size, row):
    kernel = bilinear_kernel(size)
    torch.testing.assert_close(kernel, torch.outer(torch.tensor(row), torch.tensor(row)))


def test_a_deconvolution_interpolates():
    """By 2, inside the border: the same as interpolation with half-pixel centres."""
    image = torch.randn(1, 3, 7, 9)
    up = BilinearUpsampling(3, 4, 2)(image)[:, :, 1:-1, 1:-1]
    expected = nn.functional.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(up[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1])
    constant = BilinearUpsampling(2, 64, 32)(torch.ones(1, 2, 6, 6))[:, :, 32:-32, 32:-32]
    torch.testing.assert_close(constant, torch.ones_like(constant))


def test_a_deconvolution_is_the_transposed_matrix_of_a_convolution():
    kernel = bilinear_kernel(4)[None, None]

    def convolved(image):
        return nn.functional.conv2d(image.view(1, 1, 8, 8), kernel, stride=2).flatten()

    matrix = torch.autograd.functional.jacobian(convolved, torch.zeros(64))
    scores = torch.randn(1, 1, 3, 3)
    up = BilinearUpsampling(1, 4, 2)(scores)
    torch.testing.assert_close((matrix.T @ scores.flatten()).view(1, 1, 8, 8), up)


def test_streams_are_added_and_at_once_scales_them():
    module = varied("fcn8s", base=1, classes=2).eval()
    seen = []
    for score in module.score_finer:
        score.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    image = torch.randn(1, 3, 64, 64)
    module(image)
    module.arguments["at_once"] = True
    module(image)
    assert seen[0].shape[1] == seen[1].shape[1] * 2  # pool4 before pool3
    torch.testing.assert_close(seen[2], seen[0] * 1e-2)
    torch.testing.assert_close(seen[3], seen[1] * 1e-4)


def test_fixed_trains_the_score_layer_alone():
    module = on_meta("fcn32s-fixed", base=1)
    assert [name for name, value in module.named_parameters() if value.requires_grad] == ["score.weight", "score.bias"]
    assert all(value.requires_grad for value in on_meta("fcn32s", base=1).parameters())
    assert not FCN(base=1).score.weight.any()


@pytest.mark.parametrize("wrong", [{"stride": 4}, {"body": "alexnet", "stride": 8}, {"body": "alexnet", "base": 6}])
def test_networks_that_were_never_published_are_refused(wrong):
    with pytest.raises(ModelError, match="FCN"):
        FCN(**wrong)
