"""Networks of other libraries: trained for 20 steps, gone on with to the bit, written, and run by the engine.

Slow, and skipped where a library is not installed: segmentation_models_pytorch, MONAI, dynamic-network-architectures.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiler
from tiler.cli.main import main
from tiler.errors import Interrupted
from tiler.models import read_card
from tiler.models.training import SilentTraining, train

Z, Y, X = np.mgrid[:10, :64, :64]
LABELS = (((Y + Z) // 13 + X // 17) % 2).astype(np.uint8)
IMAGES = (LABELS * 90 + np.random.default_rng(0).integers(0, 120, LABELS.shape)).astype(np.uint8)
STEPS, STOP = 20, 9

CODE = '''
from torch import nn
from torch.nn import functional


def nnunet():
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    return PlainConvUNet(1, 3, [4, 8, 16], nn.Conv2d, 3, [1, 2, 2], 1, 2, 1, conv_bias=True,
                         norm_op=nn.InstanceNorm2d, norm_op_kwargs={"eps": 1e-5, "affine": True},
                         nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True})


def focal(scores, classes, weights):
    loss = functional.cross_entropy(scores, classes, reduction="none")
    return (weights * (1 - (-loss).exp()) ** 2 * loss).mean()


def brighter(image, classes, weights, random):
    return image + random.normal(0, 0.3), classes, weights
'''

NETWORKS = {
    "segmentation_models_pytorch": ("smp:Unet", {"encoder_name": "resnet18", "encoder_depth": 3, "in_channels": 1,
                                                 "decoder_channels": [16, 8, 8], "classes": 2}, {"tile": 32}),
    "monai": ("monai:UNet", {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8, 8],
                             "strides": [2, 2], "norm": "batch"}, {"tile": 16, "planes": 8}),
    "dynamic_network_architectures": ("mine.py:nnunet", {}, {"tile": 32}),
}


class Stops(SilentTraining):
    def __init__(self, stop):
        self.stop = stop

    def stepped(self, step, loss):
        if step == STOP:
            self.stop.set()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # other people's imports
@pytest.mark.parametrize("package", NETWORKS)
def test_a_network_of_a_library_is_trained_goes_on_to_the_bit_and_runs(package, tmp_path, monkeypatch):
    pytest.importorskip(package, exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(CODE)
    np.save("images.npy", IMAGES)
    model, arguments, changes = NETWORKS[package]
    options = {"model": model, "arguments": arguments, "loss": "mine.py:focal", "augment": "mine.py:brighter",
               "steps": STEPS, "seed": 1, "threads": 1, "changes": {"batch": 2, "precision": "float32", **changes}}
    train(IMAGES, LABELS, "a.safetensors", **options)
    stop = threading.Event()
    with pytest.raises(Interrupted, match=f"after {STOP} of {STEPS}"):
        train(IMAGES, LABELS, "b.safetensors", stop=stop, listener=Stops(stop), **options)
    train(IMAGES, LABELS, "b.safetensors", resume=True)
    one, other = load_file("a.safetensors"), load_file("b.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert set(read_card(Path("a.safetensors")).provenance["code"]) >= {"loss", "augmentation"}
    call = ["segment", "images.npy", "--axes", "zyx", "--model", model, "--weights", "a.safetensors", "-o", "o.npy"]
    with pytest.raises(SystemExit, match="0"):
        main([*call, "-q"])
    found = np.load("o.npy")
    assert found.shape == LABELS.shape
    assert 0 <= found.min() < found.max() <= 1
    assert np.array_equal(found, tiler.segment(IMAGES, model, weights="a.safetensors", axes="zyx"))
