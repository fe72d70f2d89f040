"""TF32 as a precision: who has it, that it is never taken for float32, and what its bound rests on."""

from __future__ import annotations

import pickle
import threading
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from rounding import multiplying

from tiler.checking.verify import TOLERANCE
from tiler.errors import ModelError
from tiler.models import PredictorOptions, UNet, open_predictor
from tiler.models.inference.backends import choosing
from tiler.models.inference.devices import float32_products, resolve_precision
from tiler.models.inference.network import Network

GPU = torch.device("cuda", 0)
OPTIONS = PredictorOptions(device="cpu", threads=1, head="softmax", precision="float32")
PATIENCE = 30.0


@pytest.fixture
def capability(monkeypatch):
    """Properties of an absent GPU."""
    def set_to(*value):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: value)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some Card")

    return set_to


@pytest.fixture
def net():
    torch.manual_seed(7)
    return UNet(base=2, depth=1).eval()


def flags():
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


def test_gpus_have_it_from_ampere_on(capability):
    capability(8, 0)
    assert resolve_precision("tf32", GPU) == torch.float32
    capability(7, 5)
    with pytest.raises(ModelError, match=r"cuda:0 \(Some Card, compute capability 7.5\) has no tf32.*8.0.*precision="):
        resolve_precision("tf32", GPU)
    assert resolve_precision("float32", GPU) == torch.float32


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_other_devices_have_none(device):
    with pytest.raises(ModelError, match=f"tf32 is a format of CUDA devices, {device} has none.*precision=.float32"):
        resolve_precision("tf32", torch.device(device))


@pytest.mark.parametrize("backend", ["auto", "openvino", "onnxruntime"])
def test_backends_that_stay_on_the_processor_refuse_it(net, backend):
    with pytest.raises(ModelError, match="tf32 is a format of CUDA devices"):
        open_predictor(net, options=replace(OPTIONS, backend=backend, precision="tf32"))


@pytest.fixture
def pretended(net, monkeypatch):
    """A predictor in TF32 whose GPU is a processor."""
    monkeypatch.setattr("tiler.models.inference.devices._require_tf32", lambda device: None)
    monkeypatch.setattr("tiler.models.inference.network._latest", {})
    return open_predictor(net, options=replace(OPTIONS, precision="tf32"))


def test_products_are_tf32_within_a_pass_and_nowhere_else(net, pretended, monkeypatch):
    before, seen = flags(), []
    monkeypatch.setattr(Network, "_opened", lambda self, opened=Network._opened: seen.append(flags()) or opened(self))
    exact = open_predictor(net, options=OPTIONS)
    for predictor, expected in ((pretended, (True, "high")), (exact, (False, "highest"))):
        with predictor.network.session():
            assert flags() == expected
    assert seen == [before] * 2
    assert flags() == before


def test_it_stands_in_the_identity_and_shares_no_network_with_float32(net, pretended):
    exact = open_predictor(net, options=OPTIONS)
    assert pretended.identity == {**exact.identity, "precision": "tf32"}
    assert pretended.network._opened() is not exact.network._opened()
    assert pickle.loads(pickle.dumps(pretended)).network.setting.tf32
    assert not exact.network.setting.tf32


def test_auto_measures_in_tf32_what_is_to_run_in_tf32(pretended, monkeypatch):
    setting, asked = pretended.network.setting, []
    monkeypatch.setattr(choosing, "CANDIDATES", ("torch",))
    monkeypatch.setattr("tiler.models.inference.backends.eager.check", lambda *given: asked.append(given))
    assert choosing.fastest(setting, (1, 1, 44, 44)) == "torch"
    assert asked == [(setting.device, torch.float32, True)]


def test_a_thread_that_wants_the_other_meaning_waits_for_it():
    inside, let_go, order = threading.Event(), threading.Event(), []

    def coarse():
        with float32_products(tf32=True):
            inside.set()
            assert let_go.wait(PATIENCE)
            order.append(flags())

    def exact():
        with float32_products():
            order.append(flags())

    threads = [threading.Thread(target=coarse), threading.Thread(target=exact)]
    threads[0].start()
    assert inside.wait(PATIENCE)
    threads[1].start()
    threads[1].join(0.1)
    assert threads[1].is_alive()
    let_go.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert order == [(True, "high"), (False, "highest")]


def test_its_bound_holds_for_products_of_ten_bits_and_not_for_those_of_four():
    """TF32 keeps 10 bits of factors and adds in float32; it is emulated here."""
    torch.manual_seed(0)
    net, image = UNet(base=8, depth=2).eval(), torch.randn(1, 1, 100, 100)
    with torch.inference_mode():
        expected = net(image)
        span = np.ptp(expected.numpy())
        errors = {bits: float((multiplying(deepcopy(net), bits)(image) - expected).abs().max()) / span
                  for bits in (10, 4)}
    assert TOLERANCE["float32"] < errors[10] < TOLERANCE["tf32"] / 2
    assert errors[4] > TOLERANCE["tf32"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_in_it(net):
    batch = np.random.default_rng(0).integers(0, 256, (1, 1, 1, 60, 60), np.uint8)
    options = replace(OPTIONS, device="cuda", head="none")
    exact = open_predictor(net, options=options)(batch)
    coarse = open_predictor(net, options=replace(options, precision="tf32"))(batch)
    assert 0 < np.abs(coarse - exact).max() <= TOLERANCE["tf32"] * np.ptp(exact)
