"""`tiler export`, and what other programs make of it."""

import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiler as engine
from tiler.models import Normalisation, UNet, WeightsCard, load_model, save_weights
from tiler.models.loading.packages.contents import open_contents
from tiler.models.loading.packages.description import describe

pytest.importorskip("bioimageio.spec")
pytest.importorskip("onnx")
IMAGE = np.random.default_rng(5).integers(0, 255, (70, 90), dtype=np.uint8)
CARD = WeightsCard("unet", {}, ("wall", "cell"), Normalisation(255.0, (0.5,), (0.25,)), "drawn at random", "MIT, too")


NARROW = """
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 2, 2, stride=2))
"""


@pytest.fixture
def weights(folder):
    torch.manual_seed(2)
    network = UNet(base=2, depth=2)
    save_weights(folder / "w.safetensors", network.state_dict(), replace(CARD, arguments=network.arguments))
    return "w.safetensors"


@pytest.fixture
def package(tiler, weights, folder):
    outcome = tiler("export", "unet", "-o", "small.zip", "--weights", weights, "--author", "A. Person",
                    "--licence", "CC-BY-4.0")
    assert (outcome.code, outcome.out) == (0, "small.zip\n"), outcome.err
    return folder / "small.zip"


def segmented(model, **options):
    return engine.segment(IMAGE, model, **{"tile": "92", "threads": 1, "border": "mirror", "classes": "all", **options})


def test_a_package_is_read_back_to_the_same_result(package, weights):
    expected = segmented("unet", weights=weights)
    for chosen in ("onnx", "torchscript", "pytorch_state_dict"):
        np.testing.assert_allclose(segmented(package, weights=chosen, trust=True), expected, atol=2e-6)


def test_a_package_says_what_people_need(package):
    found = describe(open_contents(package))
    assert found.made.channels == ("wall", "cell")
    assert found.head == "softmax"
    with zipfile.ZipFile(package) as archive:
        text = archive.read("README.md").decode()
        yaml = archive.read("bioimageio.yaml").decode()
    assert "drawn at random" in text
    assert "MIT, too" in text
    assert "U-Net: Convolutional Networks" in yaml
    assert "10.1007/978-3-319-24574-4_28" in yaml
    assert "CC-BY-4.0" in yaml
    assert "A. Person" in yaml


def load_axes(weights):
    from tiler.models.probe import probe

    loaded = load_model("unet", weights)
    return probe(loaded.bare(), 1, prove=False).footprint.axes[1:]


PREDICT = """
import sys
import numpy as np
from bioimageio.core import Sample, Tensor, load_model_description, predict

package, image, output = sys.argv[1:]
values = Tensor(np.load(image)[None, None], dims=("batch", "channel", "y", "x"))
found = predict(model=load_model_description(package), inputs=Sample(members={"image": values}, stat={}, id="one"))
np.save(output, found.members["probabilities"].data.to_numpy()[0])
"""


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_bioimageio_core_predicts_what_the_network_gives_for_the_whole_image(tiler, folder, padding):
    """It pads an input by the halo, which must not move the phase of the poolings. What lies less than the context
    from a face differs for a network that pads itself: it meets mirrored voxels there in place of its zeros."""
    pytest.importorskip("bioimageio.core")
    torch.manual_seed(2)
    network = UNet(base=4, depth=3, padding=padding).eval()
    save_weights(folder / "w.safetensors", network.state_dict(), replace(CARD, arguments=network.arguments))
    made = tiler("export", "unet", "-o", "p.zip", "-w", "w.safetensors", "--author", "A", "--licence", "MIT")
    assert made.code == 0, made.err
    (axis, _) = load_axes("w.safetensors")
    side = axis.smallest + 16 * axis.stride
    image = np.random.default_rng(5).integers(0, 255, (side, side)).astype("float32")
    np.save("image.npy", image)
    done = subprocess.run([sys.executable, "-c", PREDICT, "p.zip", "image.npy", "found.npy"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        scaled = torch.from_numpy((image / 255 - 0.5) / 0.25)
        expected = network(scaled[None, None])[0].softmax(0).numpy()
    edge = axis.low if padding == "same" else 0
    inside = (slice(None), slice(edge, expected.shape[1] - edge), slice(edge, expected.shape[2] - edge))
    np.testing.assert_allclose(np.load("found.npy")[inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".pt"])
def test_a_network_of_one_voxel_at_its_bottom_is_written_for_all_sizes(tiler, folder, suffix):
    (folder / "narrow.py").write_text(NARROW)
    outcome = tiler("export", "narrow.py:make", "-o", f"net{suffix}")
    assert outcome.code == 0, outcome.err
    assert load_model(folder / f"net{suffix}", trust=True).build()(torch.randn(1, 1, 30, 42)).shape == (1, 2, 24, 36)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".pt"])
def test_a_program_is_the_network_alone(tiler, weights, folder, suffix):
    assert tiler("export", "unet", "-o", f"net{suffix}", "-w", weights).code == 0
    image = torch.randn(1, 1, 100, 108)
    found = load_model(folder / f"net{suffix}", trust=True).build()(image)
    assert torch.allclose(found, load_model("unet", weights).build()(image), atol=1e-5)


def test_what_is_there_is_not_replaced_unasked(tiler, weights, folder):
    (folder / "net.onnx").write_bytes(b"mine")
    refused = tiler("export", "unet", "-o", "net.onnx", "-w", weights)
    assert refused.code == 1
    assert "--overwrite" in refused.err
    assert (folder / "net.onnx").read_bytes() == b"mine"
    assert tiler("export", "unet", "-o", "net.onnx", "-w", weights, "--overwrite").code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["net.onnx", "stack.tif", "w.safetensors"]


def test_bad_wishes_are_one_line(tiler, weights, networks):
    assert "no suffix of an export" in tiler("export", "unet", "-o", "net.tflite", "-w", weights).err
    licence = tiler("export", "unet", "-o", "a.zip", "-w", weights, "--author", "A", "--licence", "none")
    assert "the licence 'none' is none of SPDX: give one such as MIT or CC-BY-4.0 (--licence)\n" in licence.err
    assert "no such luck" in tiler("export", f"{networks}:failing", "-o", "a.zip").err


def test_a_network_of_a_file_becomes_a_package(tiler, weights, networks, folder):
    """Its name holds letters that the format does not allow."""
    outcome = tiler("export", f"{networks}:Net", "-o", "own.zip", "--author", "A. Person", "--licence", "MIT")
    assert (outcome.code, outcome.out) == (0, "own.zip\n"), outcome.err
    np.testing.assert_allclose(segmented(folder / "own.zip"), segmented(f"{networks}:Net", head="none"), atol=2e-6)


def test_a_classifier_is_refused_in_words(tiler, folder):
    (folder / "narrow.py").write_text(NARROW + """

def classify():
    return nn.Sequential(make(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
""")
    outcome = tiler("export", "narrow.py:classify", "-o", "net.onnx")
    assert outcome.code == 1
    assert "takes every input in one piece, as classifiers do" in outcome.err
    assert not list(folder.glob("net*"))


@pytest.mark.slow
def test_bioimageio_core_runs_a_package_to_the_same_output(package):
    pytest.importorskip("bioimageio.core")
    command = [sys.executable, "-m", "bioimageio.core", "test", str(package)]  # by itself: it leaves files open
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    for format_ in ("onnx", "torchscript", "pytorch_state_dict"):
        assert f"Reproduce test outputs from test inputs ({format_})" in " ".join(run.stdout.split())
