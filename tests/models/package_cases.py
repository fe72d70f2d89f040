"""Small BioImage.IO packages to read."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

CODE = """
import torch
from torch import nn
{before}

class Small(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1))
"""


def small(channels=1, out=1):
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(channels, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, out, 3, padding=1)).eval()


def onnx_of(network, channels=1):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.randn(1, channels, 16, 16),), buffer, dynamo=False, opset_version=17,
                          input_names=["x"], output_names=["y"],
                          dynamic_axes={"x": {2: "h", 3: "w"}, "y": {2: "h", 3: "w"}})
    return buffer.getvalue()


def script_of(network, example=None):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.jit.script(network) if example is None else torch.jit.trace(network, example)
        torch.jit.save(program, buffer)
    return buffer.getvalue()


def state_of(network):
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.getvalue()


def sha(content):
    return hashlib.sha256(content).hexdigest()


def axes(channels, *, halo=None, one_size=False):
    space = []
    for name in "yx":
        size = 64 if one_size else {"min": 32, "step": 1}
        space.append({"type": "space", "id": name, "size": {"tensor_id": "raw", "axis_id": name} if halo else size,
                      **({"halo": halo} if halo else {})})
    return [{"type": "batch"}, {"type": "channel", "channel_names": list(channels)}, *space]


def described(weights, *, channels=("grey",), out=("found",), before=(), after=(), halo=2):
    """A yaml of format 0.5, as JSON, which YAML holds."""
    return {
        "name": "small", "description": "of the tests", "format_version": "0.5.4", "type": "model", "license": "MIT",
        "authors": [{"name": "nobody"}], "cite": [{"text": "nothing", "doi": "10.1007/978-3-319-24574-4_28"}],
        "documentation": "README.md", "tags": [],
        "inputs": [{"id": "raw", "axes": axes(channels), "test_tensor": {"source": "test_input.npy"},
                    "preprocessing": list(before)}],
        "outputs": [{"id": "made", "axes": axes(out, halo=halo), "test_tensor": {"source": "test_output.npy"},
                     "postprocessing": list(after)}],
        "weights": weights,
    }


def older(weights, *, before=(), after=()):
    """A yaml of format 0.4."""
    return {
        "name": "small", "description": "of the tests", "format_version": "0.4.9", "type": "model", "license": "MIT",
        "authors": [{"name": "nobody"}], "cite": [{"text": "nothing", "doi": "10.1007/978-3-319-24574-4_28"}],
        "documentation": "README.md", "tags": [], "timestamp": "2019-12-11T11:22:32+00:00",
        "test_inputs": ["test_input.npy"], "test_outputs": ["test_output.npy"],
        "inputs": [{"name": "raw", "axes": "bcyx", "data_type": "float32",
                    "shape": {"min": [1, 1, 32, 32], "step": [0, 0, 1, 1]}, "preprocessing": list(before)}],
        "outputs": [{"name": "made", "axes": "bcyx", "data_type": "float32", "halo": [0, 0, 2, 2],
                     "shape": {"reference_tensor": "raw", "scale": [1, 1, 1, 1], "offset": [0, 0, 0, 0]},
                     "postprocessing": list(after)}],
        "weights": weights,
    }


def written(folder: Path, description, files) -> Path:
    """The folder of a package."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(description).encode()
    for name, content in {"README.md": b"# small", "bioimageio.yaml": text, **files}.items():
        (folder / name).write_bytes(content)
    image = np.zeros((1, 1, 32, 32), np.float32)
    np.save(folder / "test_input.npy", image)
    np.save(folder / "test_output.npy", image)
    return folder


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    return path


def onnx_entry(content):
    return {"onnx": {"source": "weights.onnx", "sha256": sha(content), "opset_version": 17}}


def with_onnx(folder: Path, network=None, channels=("grey",), **details) -> Path:
    """A package of a network as ONNX."""
    content = onnx_of(network or small(), len(channels))
    return written(folder, described(onnx_entry(content), channels=channels, **details), {"weights.onnx": content})
