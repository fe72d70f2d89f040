import pytest
import torch
from torch import nn

from tiler.errors import ModelError
from tiler.models import UNet


def on_meta(**arguments) -> UNet:
    with torch.device("meta"):
        return UNet(**arguments)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({"classes": 1}, 31_030_593),
        ({}, 31_030_658),
        ({"in_channels": 3}, 31_031_810),
        ({"in_channels": 3, "classes": 1}, 31_031_745),
        ({"batch_norm": True}, 31_042_434),
        ({"in_channels": 3, "batch_norm": True}, 31_043_586),
        ({"base": 32, "classes": 1}, 7_759_521),
    ],
)
def test_parameters_are_those_of_the_published_network(arguments, parameters):
    assert count(on_meta(**arguments)) == parameters


def test_23_convolutional_layers():
    kinds = [type(layer) for layer in on_meta().modules() if isinstance(layer, nn.modules.conv._ConvNd)]
    assert len(kinds) == 23
    assert kinds.count(nn.ConvTranspose2d) == 4


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_valid_sizes(depth):
    module = on_meta(base=1, depth=depth)
    smallest = 4 * (2 ** (depth + 1) - 1) // 2**depth + 1
    for k in (smallest, smallest + 1, smallest + 9):
        size = 2**depth * k + 4 * (2**depth - 1)
        output = module(torch.zeros(1, 1, size, size, device="meta"))
        assert output.shape[2] == 2**depth * k - 4 * (2 ** (depth + 1) - 1)


def test_the_papers_own_sizes():
    module, sizes = on_meta(), []
    for layer in [*module.enc, *module.up, *module.dec]:
        layer.register_forward_hook(lambda layer, inputs, output: sizes.append(output.shape[-1]))
    assert module(torch.zeros(1, 1, 572, 572, device="meta")).shape == (1, 2, 388, 388)
    assert sizes == [568, 280, 136, 64, 28, 56, 52, 104, 100, 200, 196, 392, 388]


def test_same_padding_keeps_the_size():
    assert on_meta(base=2, padding="same")(torch.zeros(1, 1, 48, 64, device="meta")).shape == (1, 2, 48, 64)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_any_number_of_axes(ndim):
    module = on_meta(base=2, depth=2, ndim=ndim)
    assert module(torch.zeros(1, 1, *[44] * ndim, device="meta")).shape == (1, 2, *[4] * ndim)


def test_skips_are_cropped_at_their_centre():
    module = UNet(base=1, depth=1).eval()
    image = torch.zeros(1, 1, 40, 40)
    image[..., 20, 20] = 1
    seen = {}
    module.enc[0] = nn.Sequential(nn.AvgPool2d(5, 1, divisor_override=1))  # as large as two convolutions leave it
    module.dec[0].register_forward_pre_hook(lambda layer, inputs: seen.update(joined=inputs[0]))
    module(image)
    at = seen["joined"][0, 0].nonzero().float().mean(0) - (seen["joined"].shape[-1] - 1) / 2
    assert at.tolist() == [0.5, 0.5]  # pixel 20 of 40 lies half a pixel off the centre, before and after


def test_he_initialisation():
    torch.manual_seed(0)
    module = UNet(base=32, depth=2)
    deepest, up = module.enc[2][0].weight, module.up[0].weight
    assert deepest.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)
    assert up.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.03)
    assert not any(layer.bias.any() for layer in module.modules() if hasattr(layer, "bias"))


def test_dropout_acts_at_the_end_of_the_contracting_path_in_training_only():
    torch.manual_seed(0)
    module = UNet(base=2, depth=1, dropout=0.5)
    image = torch.rand(1, 1, 24, 24)
    seen = []
    module.drop.register_forward_hook(lambda layer, inputs, output: seen.append((inputs[0], output)))
    module.train()(image)
    module.eval()(image)
    (trained, dropped), (plain, kept) = seen
    assert trained.shape[1] == 4
    assert (dropped == 0).sum() > (trained == 0).sum()
    assert torch.equal(plain, kept)


@pytest.mark.parametrize("wrong", [{"padding": "reflect"}, {"ndim": 4}, {"depth": 0}, {"base": 0}])
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(ModelError, match="U-Net"):
        UNet(**wrong)
