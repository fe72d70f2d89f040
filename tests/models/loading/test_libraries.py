"""Networks of libraries by the names that their users know, arguments of factories, and one output of several."""

from __future__ import annotations

import json
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

import tiler
from tiler.cli.main import _run
from tiler.errors import ModelError, PlanError
from tiler.models import PredictorOptions, load_model, open_predictor
from tiler.models.loading.libraries import LIBRARIES, Library
from tiler.models.loading.returned import Returned, outputs_of
from tiler.models.loading.weights import WeightsCard, save_weights

CPU = PredictorOptions(device="cpu", threads=1)
GREY = np.random.default_rng(0).integers(0, 255, (40, 44), dtype=np.uint8)


class Net(nn.Module):
    """A network of a library, which returns what it is asked for."""

    def __init__(self, width=4, classes=2, encoder_weights="imagenet", gives="tensor"):
        super().__init__()
        if encoder_weights:
            raise ConnectionError("the internet would be asked for weights")
        self.body, self.out, self.gives = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, classes, 1), gives

    def forward(self, x):
        features = self.body(x).relu()
        scores = self.out(features)
        return {"tensor": scores, "dict": {"features": features, "out": scores}, "tuple": (features, scores),
                "nested": {"heads": [features, scores]}}[self.gives]


class Keeping(Net):
    """It keeps its arguments as they were given, as those of segmentation_models_pytorch do."""

    def __init__(self, widths=(4,), encoder_weights="imagenet", **arguments):
        super().__init__(encoder_weights=encoder_weights, **arguments)
        self.config = {"widths": widths}


@pytest.fixture(autouse=True)
def library(monkeypatch):
    """A library that is always there, in place of those that may not be."""
    module = ModuleType("nets_of_others")
    module.Net, module.Nest, module.__version__ = Net, Keeping, "1.2"
    monkeypatch.setitem(sys.modules, "nets_of_others", module)
    monkeypatch.setitem(LIBRARIES, "others", Library(("nets_of_others",), "nets", ("encoder_weights",)))
    monkeypatch.setitem(LIBRARIES, "absent", Library(("no_such_package_here.nets",), "em-tiler[absent]"))


def saved(path, module):
    save_weights(path, module.state_dict(), WeightsCard("others:Net", {}, ("background", "cell"), None, "", ""))
    return path


def test_a_network_is_built_by_name_with_arguments_and_weights(tmp_path):
    torch.manual_seed(5)
    network = Net(width=6, encoder_weights=None).eval()
    weights = saved(tmp_path / "w.safetensors", network)
    options = {"weights": weights, "model_args": {"width": 6}, "head": "softmax", "normalise": "0,1", "device": "cpu"}
    found = np.asarray(tiler.segment(GREY, "others:Net", **options))
    with torch.no_grad():
        expected = network(torch.from_numpy(GREY[None, None]).float()).softmax(1)[0, 1].numpy()
    assert np.abs(found - expected).max() < 1e-5
    texts = tiler.segment(GREY, "others:Net", **{**options, "model_args": ["width=6", "encoder_weights=none"]})
    np.testing.assert_array_equal(np.asarray(texts), found)


def test_arguments_change_the_identity_and_random_values_are_said(caplog):
    plain, wide = (load_model("others:Net", arguments={"width": width}) for width in (4, 5))
    assert plain.identity != wide.identity
    assert plain.identity["source"] == "nets_of_others 1.2"
    assert "the values of others:Net are random" in caplog.text
    again = pickle.loads(pickle.dumps(plain))
    assert all(torch.equal(a, b) for a, b in zip(plain.bare().parameters(), again.bare().parameters(), strict=True))


@pytest.mark.parametrize(("model", "arguments", "words"), [
    ("absent:Unet", {}, "absent:Unet\" needs the package no_such_package_here: pip install 'em-tiler.absent.'"),
    ("others:Net2", {}, "no network 'Net2': did you mean others:Net"),
    ("others:Net", {"depth": 3}, "does not take these arguments.*depth.*it has width, classes.*model_args="),
    ("others:Net", {"encoder_weights": "imagenet"}, "ConnectionError: the internet"),
    ("unet", {"depth": 3}, "unet, whose file says how it is built, takes no depth.*model_args="),
    (nn.Conv2d(1, 2, 3), {"depth": 3}, "takes no depth"),
])
def test_what_cannot_be_built_is_one_line(model, arguments, words):
    with pytest.raises(ModelError, match=words) as refused:
        load_model(model, arguments=arguments)
    assert "\n" not in str(refused.value)


def test_a_tuple_is_the_same_network_when_the_run_is_opened_again(tmp_path):
    np.save(tmp_path / "in.npy", GREY)
    given = {"model_args": {"classes": 2, "widths": (4, 4)}, "device": "cpu", "threads": 1}
    tiler.segment(tmp_path / "in.npy", "others:Nest", tmp_path / "out.npy", **given)
    assert tiler.check(tmp_path / "out.npy").sound


def test_arguments_go_to_any_factory(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import torch\ndef make(width, deep=False):\n    torch.manual_seed(width)\n"
                    "    return torch.nn.Conv2d(1, width, 3)\nmade = make(2)\n")
    assert load_model(f"{file}:make", arguments={"width": 7}).bare().weight.shape[0] == 7
    with pytest.raises(ModelError, match=r"make raised TypeError.*width"):
        load_model(f"{file}:make")
    with pytest.raises(ModelError, match="built already, and takes no width"):
        load_model(f"{file}:made", arguments={"width": 7})


@pytest.mark.parametrize(("gives", "returns"), [("dict", "out"), ("tuple", 1), ("tuple", "1"), ("nested", "heads.1")])
def test_one_of_several_outputs_is_used(gives, returns):
    options = {"model_args": {"gives": gives}, "classes": "all", "device": "cpu"}
    found = tiler.segment(GREY, "others:Net", returns=returns, **options)
    expected = tiler.segment(GREY, "others:Net", classes="all", device="cpu")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    assert load_model("others:Net", arguments={"gives": gives}, returns=returns).identity["returns"] == str(returns)


@pytest.mark.parametrize(("gives", "returns", "words"), [
    ("dict", "mask", "no output 'mask': it returns a dictionary of features, out"),
    ("tuple", "2", "no output '2': it returns a tuple of 2 outputs, 0 to 1"),
    ("nested", "heads", "output heads of the network is a list of 2 outputs, 0 to 1: name one of them as heads.NAME"),
])
def test_an_output_that_is_not_there_is_said(gives, returns, words):
    network = Returned(Net(gives=gives, encoder_weights=None), returns)
    with pytest.raises(ModelError, match=f"{words}.*returns="):
        network(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("gives", ["dict", "tuple"])
def test_several_outputs_ask_for_one(gives):
    with pytest.raises(tiler.TilerError, match="returns="):
        tiler.plan(GREY, "others:Net", model_args={"gives": gives})


def test_outputs_in_words():
    assert outputs_of(torch.zeros(1)) == "one tensor"
    assert outputs_of(3) == "an object of type int"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_module_and_a_file_may_return_several_too(tmp_path):
    network = Net(gives="tuple", encoder_weights=None).eval()
    scores = open_predictor(network, returns=1, options=CPU)(GREY[None, None, None])
    script = torch.jit.trace(network, torch.zeros(1, 1, 40, 44))
    torch.jit.save(script, tmp_path / "several.pt")
    loaded = load_model(tmp_path / "several.pt", trust=True, returns=1)
    with torch.no_grad():
        assert np.abs(loaded.bare()(torch.from_numpy(GREY[None, None]).float()).numpy() - scores[:, :, 0]).max() < 1e-4


def test_the_command_line_takes_arguments_one_by_one(tmp_path, capsys):
    np.save(tmp_path / "in.npy", GREY)
    given = ["-m", "others:Net", "--model-arg", "gives=dict", "--model-arg", "width=3", "--returns", "out", "--json"]
    assert _run(["plan", str(tmp_path / "in.npy"), *given]) == 0
    assert json.loads(capsys.readouterr().out)["essence"]["model"]["returns"] == "out"
    assert _run(["probe", "others:Net", "--model-arg", "width"]) == 1
    assert "NAME=VALUE" in capsys.readouterr().err


def test_an_argument_without_a_value_is_refused():
    with pytest.raises(PlanError, match="NAME=VALUE"):
        tiler.plan(GREY, "others:Net", model_args="width")


REAL = [
    ("segmentation_models_pytorch", "smp:Unet", {"encoder_name": "resnet18", "in_channels": 1, "encoder_depth": 3,
                                                 "decoder_channels": (16, 8, 8)}),
    ("monai.networks.nets", "monai:UNet", {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": (4, 8),
                                           "strides": (2,), "norm": "batch"}),
    ("torchvision", "torchvision:fcn_resnet50", {"num_classes": 2}),
]


@pytest.mark.parametrize(("package", "model", "arguments"), REAL, ids=[each[1] for each in REAL])
def test_networks_of_the_libraries_that_are_installed(package, model, arguments):
    pytest.importorskip(package, exc_type=ImportError)
    loaded = load_model(model, arguments=arguments)
    with torch.no_grad():
        assert loaded.bare()(torch.zeros(1, loaded.in_channels, 32, 32)).shape[2:] == (32, 32)


def test_a_network_of_smp_that_was_saved_by_smp(tmp_path):
    smp = pytest.importorskip("segmentation_models_pytorch", exc_type=ImportError)
    network = smp.Unet(encoder_weights=None, **REAL[0][2]).eval()
    network.save_pretrained(tmp_path / "saved")
    loaded = load_model(tmp_path / "saved")
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.bare()(x), network(x))


def test_a_network_of_nnunet_by_its_own_classes(tmp_path):
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet", exc_type=ImportError)
    stated = {"n_stages": 3, "features_per_stage": [4, 8, 8], "kernel_sizes": [[3, 3]] * 3, "n_conv_per_stage": [1] * 3,
              "strides": [[1, 1], [2, 2], [2, 2]], "n_conv_per_stage_decoder": [1, 1], "conv_bias": True,
              "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "nonlin_kwargs": {"inplace": True}}
    names = {"conv_op": "torch.nn.modules.conv.Conv2d", "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
             "nonlin": "torch.nn.LeakyReLU"}
    torch.manual_seed(0)
    network = unet.PlainConvUNet(1, num_classes=2, conv_op=nn.Conv2d, norm_op=nn.InstanceNorm2d, nonlin=nn.LeakyReLU,
                                 deep_supervision=True, **stated).eval()
    path = tmp_path / "T__P__2d"
    (path / "fold_0").mkdir(parents=True)
    torch.save({"network_weights": network.state_dict()}, path / "fold_0" / "checkpoint_final.pth")
    architecture = {"network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {**stated, **names}, "_kw_requires_import": list(names)}
    (path / "plans.json").write_text(json.dumps({"configurations": {"2d": {"architecture": architecture}}}))
    (path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "EM"}, "labels": {"a": 0, "b": 1}}))
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_model(path).bare()(x), network(x)[0])
