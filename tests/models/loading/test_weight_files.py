"""Weights as training programs save them: found, freed of prefixes, and read without running code."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import tiler
from tiler.cli.main import _run
from tiler.errors import ModelError, WeightsError
from tiler.models.loading import weight_files
from tiler.models.loading.convert import convert_weights
from tiler.models.loading.weight_files import common_prefix, open_weights, weights_in

GREY = np.random.default_rng(0).integers(0, 255, (30, 34), dtype=np.uint8)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc, self.norm, self.out = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.out(self.norm(self.enc(x)).relu())


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


def renamed(net, prefix):
    return {prefix + name: value for name, value in net.state_dict().items()}


SAVED = {
    "state dict": lambda net: net.state_dict(),
    "data parallel": lambda net: renamed(net, "module."),
    "compiled and parallel": lambda net: renamed(net, "module._orig_mod."),
    "checkpoint": lambda net: {"epoch": 3, "model_state_dict": net.state_dict(), "loss": np.float64(0.5),
                               "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]}},
    "lightning": lambda net: {"pytorch-lightning_version": "2.4", "hyper_parameters": {"lr": 1e-3, "size": (3, 3)},
                              "state_dict": {**renamed(net, "net."), "loss.weight": torch.ones(2)}},
    "nnU-Net": lambda net: {"network_weights": net.state_dict(), "logging": {"loss": [np.float32(1)]},
                            "init_args": {"device": torch.device("cpu")}},
    "its own key": lambda net: {"generator": net.state_dict(), "step": torch.tensor(3)},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", SAVED)
def test_weights_of_every_kind_give_what_the_network_gives(kind, zipped, net, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(SAVED[kind](net), path, _use_new_zipfile_serialization=zipped)
    options = {"classes": "all", "device": "cpu", "threads": 1}
    found = tiler.segment(GREY, Net(), weights=path, **options)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(tiler.segment(GREY, net, **options)))


@pytest.mark.parametrize("kind", SAVED)
def test_converted_weights_are_the_same_tensors(kind, net, tmp_path):
    torch.save(SAVED[kind](net), tmp_path / "weights.ckpt")
    convert_weights(tmp_path / "weights.ckpt", tmp_path / "w.safetensors")
    found = load_file(tmp_path / "w.safetensors")
    prefix = "net." if kind == "lightning" else ""
    assert torch.equal(found[f"{prefix}enc.weight"], net.enc.weight)
    with open_weights(tmp_path / "w.safetensors") as file:
        assert "weights.ckpt" in file.metadata["converted_from"]


def test_what_is_taken_off_is_said(net, tmp_path, caplog):
    torch.save(SAVED["lightning"](net), tmp_path / "w.ckpt")
    tiler.plan(GREY, Net(), weights=tmp_path / "w.ckpt")
    assert "the network net....: that was taken off, and 1 other tensors were left out" in caplog.text


def test_a_network_whose_own_names_begin_alike_keeps_them():
    own = {"model.0.weight": (1,), "model.0.bias": (1,)}
    assert common_prefix(own, own) == ""
    assert common_prefix({f"net.{name}": shape for name, shape in own.items()}, own) == "net."
    assert common_prefix({"other": (1,)}, own) == ""


class Trainer:
    """What makes a file of `torch.save` one that runs code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_no_code_is_run(zipped, net, tmp_path):
    content = {"state_dict": net.state_dict(), "trainer": Trainer(tmp_path / "ran")}
    torch.save(content, tmp_path / "bad.ckpt", _use_new_zipfile_serialization=zipped)
    for action in (lambda: tiler.plan(GREY, Net(), weights=tmp_path / "bad.ckpt"),
                   lambda: convert_weights(tmp_path / "bad.ckpt", tmp_path / "w.safetensors")):
        with pytest.raises(WeightsError, match=r"runs no code of a file, and reads tensors alone") as refused:
            action()
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "w.safetensors").exists()


def test_a_torch_that_reads_pickles_unsafely_is_not_asked(net, tmp_path, monkeypatch):
    torch.save(net.state_dict(), tmp_path / "w.pth")
    monkeypatch.setattr(weight_files, "SAFE_SINCE", "99.0")
    with pytest.raises(WeightsError, match="update torch"):
        tiler.plan(GREY, Net(), weights=tmp_path / "w.pth")


@pytest.mark.parametrize(("content", "words"), [
    ({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, "not clear where the weights are.*has a, b"),
    ([torch.ones(1)], "has no names"), ({}, "not clear")])
def test_it_must_be_clear_which_tensors_are_meant(content, words):
    with pytest.raises(WeightsError, match=words):
        weights_in(content, "w.pth")


def test_the_command_line_converts(net, tmp_path, capsys):
    torch.save(net.state_dict(), tmp_path / "w.pth")
    given = ["convert", str(tmp_path / "w.pth"), "-o", str(tmp_path / "w.safetensors")]
    assert _run(given) == 0
    assert capsys.readouterr().out.strip() == given[-1]
    assert _run(given) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert _run([*given, "--overwrite"]) == 0
    with pytest.raises(ModelError, match="safetensors"):
        convert_weights(tmp_path / "w.pth", tmp_path / "w.pt")
