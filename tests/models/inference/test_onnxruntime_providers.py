"""ONNX Runtime on GPUs: settings of its providers, and refusals. A processor stands in for the GPU."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tiler.errors import ModelError
from tiler.models import PredictorOptions, open_predictor
from tiler.models.inference.backends import Setting, choosing, exported, open_backend
from tiler.models.installation import _backend
from tiler.models.loading.open_model import load_model

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
SECOND = torch.device("cuda", 1)
GPU = PredictorOptions(device="cuda:1", threads=1, head="softmax", backend="onnxruntime")
IMAGE = torch.randn(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(7)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()


@pytest.fixture
def offering(monkeypatch):
    """An onnxruntime that has other providers; each starts unless it is named. What sessions are given is kept."""
    real, given = onnxruntime.InferenceSession, []

    def offer(*providers, broken=()):
        class Session:
            def __init__(self, program, options, providers, enable_fallback):
                given.append((providers, options.use_deterministic_compute, enable_fallback))
                self.get_providers = lambda: [name for name, _ in providers if name not in broken] + [CPU]
                self.run = real(program, options, providers=[CPU]).run

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(providers))
        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        return given

    return offer


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs of one model that are not here."""
    monkeypatch.setattr("tiler.models.inference.devices.available", lambda: ("cuda", "cpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some Card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))


def setting_of(net, tf32=False):
    return Setting(load_model(net, None, False), SECOND, torch.float32, 1, tf32)


def scores(net, backend, tf32=False):
    return open_backend(backend).open_runner(setting_of(net, tf32))(IMAGE)


@pytest.mark.parametrize("tf32", [False, True])
def test_cuda_is_told_the_device_and_whether_to_round_to_tf32(net, offering, tf32):
    given = offering(CUDA, CPU)
    torch.testing.assert_close(scores(net, "onnxruntime", tf32), net(IMAGE).detach(), atol=1e-5, rtol=0)
    told = {"device_id": 1, "use_tf32": int(tf32), "cudnn_conv_algo_search": "HEURISTIC"}
    assert given == [([(CUDA, told)], True, 0)]


def test_tensorrt_is_told_the_device_and_no_other_precision_and_cuda_comes_after_it(net, offering):
    given = offering(TENSORRT, CUDA, CPU)
    torch.testing.assert_close(scores(net, "onnxruntime:tensorrt"), net(IMAGE).detach(), atol=1e-5, rtol=0)
    [([first, second], *_)] = given
    assert first == (TENSORRT, {"device_id": 1, "trt_fp16_enable": False, "trt_int8_enable": False})
    assert (second[0], second[1]["use_tf32"]) == (CUDA, 0)


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime:tensorrt"])
def test_a_provider_that_does_not_start_is_one_line_not_a_slow_run(net, offering, backend):
    offering(TENSORRT, CUDA, CPU, broken=(TENSORRT, CUDA))
    with pytest.raises(ModelError, match=r"Provider does not start, only CPU.*are its libraries there") as refused:
        scores(net, backend)
    assert "\n" not in str(refused.value)


def test_a_program_in_tf32_is_held_to_its_own_bound(net, offering, monkeypatch):
    offering(CUDA, CPU)
    original = exported.Exported._check
    monkeypatch.setattr(exported.Exported, "_check",
                        lambda self, found, expected: original(self, found * (1 + 1e-4), expected))
    scores(net, "onnxruntime", tf32=True)
    with pytest.raises(ModelError, match=r"in float32, 1e-05 is allowed"):
        scores(net, "onnxruntime")
    monkeypatch.setattr(exported.Exported, "_check",
                        lambda self, found, expected: original(self, found * 1.1, expected))
    with pytest.raises(ModelError, match=r"in tf32, 0.005 is allowed"):
        scores(net, "onnxruntime", tf32=True)


@pytest.mark.parametrize(("backend", "provider"), [("onnxruntime", CUDA), ("onnxruntime:tensorrt", TENSORRT)])
def test_a_package_without_the_provider_is_one_line_with_what_to_install(offering, gpus, net, backend, provider):
    offering(CPU)
    with pytest.raises(ModelError, match=f"has no {provider}, only {CPU}.*pip install onnxruntime-gpu") as refused:
        open_predictor(net, options=replace(GPU, backend=backend))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("backend", "device", "message"), [
    ("onnxruntime", "mps", "on the CPU and on CUDA devices here, not on mps.*device=.cpu"),
    ("onnxruntime:tensorrt", "cpu", "TensorRT runs on CUDA devices, not on cpu.*device=.cuda"),
])
def test_other_devices_are_refused(offering, backend, device, message):
    offering(TENSORRT, CUDA, CPU)
    with pytest.raises(ModelError, match=message):
        open_backend(backend).check(torch.device(device), torch.float32, False)


def test_tensorrt_takes_tf32_for_float32_unless_the_process_was_told_not_to(offering, monkeypatch):
    offering(TENSORRT, CUDA, CPU)
    check = open_backend("onnxruntime:tensorrt").check
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    with pytest.raises(ModelError, match=r"NVIDIA_TF32_OVERRIDE=0.*precision=.tf32., or backend=.onnxruntime"):
        check(SECOND, torch.float32, False)
    check(SECOND, torch.float32, True)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    check(SECOND, torch.float32, False)
    with pytest.raises(ModelError, match="not in bfloat16"):
        check(SECOND, torch.bfloat16, False)


@pytest.mark.parametrize(("backend", "precision", "provider"), [
    ("onnxruntime", "float32", CUDA), ("onnxruntime", "tf32", CUDA), ("onnxruntime:tensorrt", "tf32", TENSORRT)])
def test_the_identity_names_provider_version_and_precision(offering, gpus, net, backend, precision, provider):
    offering(TENSORRT, CUDA, CPU)
    identity = open_predictor(net, options=replace(GPU, backend=backend, precision=precision)).identity
    assert identity["backend"] == f"{backend} {onnxruntime.__version__} {provider}"
    assert (identity["device"], identity["precision"], identity["threads"]) == ("cuda Some Card", precision, None)


def test_tensorrt_is_only_ever_chosen_by_name():
    assert "onnxruntime" in choosing.CANDIDATES
    assert "onnxruntime:tensorrt" not in choosing.CANDIDATES


def test_a_missing_package_names_the_extra(net, monkeypatch):
    monkeypatch.delitem(sys.modules, "tiler.models.inference.backends.tensorrt", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'em-tiler\[onnxruntime\]'"):
        open_backend("onnxruntime:tensorrt")


def test_the_doctor_says_why_tensorrt_cannot_be_used(offering):
    offering(CPU)
    assert "onnxruntime-gpu" in _backend("onnxruntime:tensorrt").note
    assert _backend("onnxruntime").precisions == ("float32",)


def test_feeders_export_one_after_another(net, monkeypatch):
    """Torch's exporter is not made for several threads, and GPUs have several feeders."""
    inside, most, original = [], [], exported.to_onnx

    def watched(*given, **named):
        inside.append(1)
        most.append(len(inside))
        try:
            return original(*given, **named)
        finally:
            inside.pop()

    monkeypatch.setattr(exported, "to_onnx", watched)
    setting = replace(setting_of(net), device=torch.device("cpu"))
    runners = [open_backend("onnxruntime").open_runner(setting) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda runner: runner(IMAGE).numpy(), runners))
    assert most == [1] * 4
    assert all(np.array_equal(each, found[0]) for each in found)
