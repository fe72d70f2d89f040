"""Every backend gives torch's float32 result within the law's bound, and says what it runs."""

from __future__ import annotations

import json
import logging
import pickle
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

import tiler
from tiler.errors import Interrupted, ModelError, PlanChangedError
from tiler.geometry import Footprint, Reach
from tiler.models import PredictorOptions, UNet, open_predictor
from tiler.models.inference.backends import choosing, open_backend
from tiler.models.inference.backends.exported import Exported
from tiler.running.journal import Journal

CPU = PredictorOptions(device="cpu", threads=1, head="softmax", classes="all", normalise="125,70")
BOUND = 1e-5
TILE = (1, 60, 68)
VOLUME = np.random.default_rng(0).integers(0, 250, (2, 50, 44), dtype=np.uint8)


def installed(name):
    return pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"))


EXPORTING = [installed("openvino"), installed("onnxruntime")]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(7)
    return UNet(base=4, depth=2, classes=3).eval()


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(0).integers(0, 256, (2, 1, 2, *TILE[1:]), np.uint8)


def opened(net, backend, **options):
    return open_predictor(net, options=replace(CPU, backend=backend, **options))


@pytest.mark.parametrize("backend", EXPORTING)
@pytest.mark.parametrize("options", [{}, {"head": "none"}, {"average": "d4"}])
def test_it_gives_what_torch_gives(net, batch, backend, options):
    square = batch[..., :60] if "average" in options else batch
    expected = opened(net, "torch", **options)(square)
    found = opened(net, backend, **options)(square)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert np.abs(found - expected).max() <= BOUND * np.ptp(expected)


@pytest.mark.parametrize("backend", EXPORTING)
def test_volumes_same_padding_and_several_shapes(backend, batch):
    torch.manual_seed(2)
    net = UNet(base=2, depth=1, ndim=3, padding="same").eval()
    found, expected = opened(net, backend), opened(net, "torch")
    for size in (60, 44):
        assert np.abs(found(batch[..., :size]) - expected(batch[..., :size])).max() <= BOUND


@pytest.mark.parametrize("backend", EXPORTING)
def test_a_tile_does_not_know_its_batch_and_repeats_bit_for_bit(net, batch, backend):
    predictor = opened(net, backend)
    together = predictor(batch)
    np.testing.assert_array_equal(predictor(batch[1:])[0], together[1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predictor))(batch), together)


@pytest.mark.parametrize("backend", EXPORTING)
def test_the_law_holds(net, backend):
    options = {"threads": 1, "device": "cpu", "head": "softmax", "normalise": "125,70", "backend": backend}
    whole = tiler.segment(VOLUME, net, tile="100", **options)
    np.testing.assert_allclose(tiler.segment(VOLUME, net, tile="60", block="16", **options), whole, atol=BOUND)


@pytest.mark.parametrize("backend", EXPORTING)
def test_torchscript_runs_too(net, batch, backend, tmp_path):
    with torch.no_grad(), pytest.warns(DeprecationWarning, match=r"torch\.jit"):
        torch.jit.trace(net, torch.zeros(1, 1, 60, 68)).save(tmp_path / "net.pt")
    options = replace(CPU, backend=backend)
    found = open_predictor(tmp_path / "net.pt", trust=True, options=options)(batch)
    assert np.abs(found - opened(net, "torch")(batch)).max() <= BOUND


@pytest.mark.parametrize("backend", EXPORTING)
def test_the_identity_names_what_runs(net, backend):
    identity = opened(net, backend).identity
    assert identity["backend"].split()[0] == backend
    assert identity != opened(net, "torch").identity
    assert json.loads(json.dumps(identity))["precision"] == "float32"


@pytest.mark.parametrize("backend", EXPORTING)
def test_footprint_and_operations_are_those_of_torch_and_memory_is_its_own(net, backend):
    found, expected = opened(net, backend), opened(net, "torch")
    assert found.footprint == expected.footprint
    assert found.cost(TILE, 1).flops == expected.cost(TILE, 1).flops
    assert found.cost(TILE, 1).bytes > expected.cost(TILE, 1).bytes


def test_a_bfloat16_program_is_planned_with_the_float32_pass_that_it_is_held_to(net):
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    assert opened(net, "openvino", precision="bfloat16").cost(TILE, 1) == opened(net, "openvino").cost(TILE, 1)


def test_float32_is_ieee_float32_and_bfloat16_is_explicit(net, batch):
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    expected = opened(net, "torch", head="none")(batch)
    span = np.ptp(expected)
    exact = np.abs(opened(net, "openvino", head="none")(batch) - expected).max() / span
    coarse = np.abs(opened(net, "openvino", head="none", precision="bfloat16")(batch) - expected).max() / span
    assert exact <= BOUND < coarse < 2e-2


@pytest.mark.slow  # half a minute of compiling
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of its own modules
def test_compiled_torch_gives_what_torch_gives(batch):
    torch.manual_seed(7)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    expected, predictor = opened(net, "torch")(batch), opened(net, "compile")
    assert np.abs(predictor(batch) - expected).max() <= BOUND
    assert predictor.identity["backend"].startswith("compile (torch 2")


@pytest.mark.parametrize("backend", EXPORTING)
def test_a_program_that_differs_from_torch_is_refused(net, batch, backend, monkeypatch):
    original = Exported._check
    monkeypatch.setattr(Exported, "_check", lambda self, found, expected: original(self, found * (1 + 1e-4), expected))
    with pytest.raises(ModelError, match=r"differs from torch by .* of the range.*backend=.torch"):
        opened(net, backend)(batch)


@pytest.mark.parametrize("backend", EXPORTING)
def test_a_network_that_cannot_be_exported_is_one_line(batch, backend):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, x):
            return self.conv(torch.special.bessel_j0(x))

    alone = Footprint.of([Reach(0, 0, 0, 0, 1)] * 3)
    predictor = open_predictor(Odd(), options=replace(CPU, head="sigmoid", backend=backend, footprint=alone))
    with pytest.raises(ModelError, match=r"cannot run .*Odd.*backend=.torch") as refused:
        predictor(batch)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("backend", "options", "message"), [
    ("openvino", {"precision": "float16"}, "float32 or bfloat16"),
    ("openvino", {"precision": "float64"}, "float32 or bfloat16"),
    ("onnxruntime", {"precision": "bfloat16"}, "runs in float32"),
])
def test_what_a_backend_cannot_do_is_said_when_it_is_opened(net, backend, options, message):
    pytest.importorskip(backend)
    with pytest.raises(ModelError, match=f"{message}.*precision="):
        opened(net, backend, **options)


@pytest.mark.parametrize("backend", EXPORTING)
def test_other_devices_are_refused_and_auto_is_the_cpu(net, backend, monkeypatch):
    with pytest.raises(ModelError, match=r"device=.cpu. or backend=.torch"):
        open_backend(backend).check(torch.device("cuda"), torch.float32, False)
    monkeypatch.setattr("tiler.models.inference.devices.available", lambda: ("cuda", "cpu"))
    assert opened(net, backend, device="auto").network.device.type == "cpu"


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_missing_package_is_one_line_with_what_to_install(net, backend, monkeypatch):
    monkeypatch.delitem(sys.modules, f"tiler.models.inference.backends.{backend}", raising=False)
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(ModelError, match=rf"backend=.{backend}. needs .*pip install 'em-tiler\[{backend}\]'"):
        opened(net, backend)


def test_unknown_backends_are_named(net):
    with pytest.raises(ModelError, match=r"'tensorrt' is no backend"):
        opened(net, "tensorrt")


def test_auto_takes_the_fastest_that_agrees(net, monkeypatch, caplog):
    pytest.importorskip("openvino")
    speed = {"torch": 2.0, "openvino": 1.0, "onnxruntime": 3.0}
    monkeypatch.setattr(choosing, "_seconds",
                        lambda session, image: session(image) is None or speed[session.feeder.backend])
    with caplog.at_level(logging.INFO, "tiler.models.inference.backends.choosing"):
        assert opened(net, "auto").network.backend == "openvino"
        assert opened(net, "auto").identity["backend"].startswith("openvino")
    assert "seconds per forward pass" in caplog.text
    monkeypatch.setattr(Exported, "_check", lambda *_: (_ for _ in ()).throw(ModelError("differs")))
    assert opened(net, "auto").network.backend == "torch"
    assert opened(net, "auto", precision="float64").network.backend == "torch"


def test_auto_is_resolved_once_and_stands_in_the_plan(net, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(choosing, "_seconds", lambda session, image: float(session.feeder.backend != "openvino"))
    output, stop = tmp_path / "out.zarr", StopAtOnce()
    np.save(tmp_path / "in.npy", VOLUME)
    options = {"head": "softmax", "tile": "60", "block": "16", "threads": 1, "device": "cpu"}
    with pytest.raises(Interrupted):
        tiler.segment(tmp_path / "in.npy", net, output, backend="auto", listener=stop, stop=stop.event, **options)
    monkeypatch.setattr(choosing, "_seconds", lambda session, image: float(session.feeder.backend != "torch"))
    with pytest.raises(PlanChangedError, match="backend was openvino"):
        tiler.segment(tmp_path / "in.npy", net, output, resume=True, backend="torch")
    tiler.segment(tmp_path / "in.npy", net, output, resume=True)
    header = Journal.load(tmp_path / "out.zarr.journal").header
    assert header["options"]["backend"] == "openvino"
    assert header["plan"]["essence"]["model"]["backend"].startswith("openvino 20")


class StopAtOnce:
    """A listener that stops after the first block."""

    def __init__(self):
        import threading

        self.event = threading.Event()

    def stage(self, name): ...
    def started(self, total, done): ...
    def warn(self, message): ...
    def finished_block(self, index, voxels):
        self.event.set()
