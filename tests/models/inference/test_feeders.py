"""Several feeders and devices give the same bits in parallel and never hang. CPUs stand in for GPUs."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import tiler
from tiler.errors import BlockFailed, Interrupted, ModelError
from tiler.models import PredictorOptions, UNet, open_predictor
from tiler.models.inference import feeders
from tiler.models.inference.devices import resolve_devices
from tiler.models.inference.feeders import Feeder, Feeders, StreamFeeder, ways_to
from tiler.models.inference.network import Network
from tiler.models.predictor.written import Labels, Probabilities

VOLUME = np.random.default_rng(0).integers(0, 250, (3, 61, 53), dtype=np.uint8)
OPTIONS = PredictorOptions(device="cpu", threads=1, head="softmax")
CUT = {"tile": "60", "block": "1x20x20"}
FIRST, SECOND = torch.device("cpu", 0), torch.device("cpu", 1)
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Feeders that no other test has left."""
    monkeypatch.setattr("tiler.models.inference.network._latest", {})


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(3)
    return open_predictor(UNet(base=4, depth=2).eval(), options=OPTIONS)


@pytest.fixture(scope="module")
def expected(predictor):
    return tiler.segment(VOLUME, predictor, executor="serial", **CUT)


@pytest.fixture
def three(monkeypatch):
    """Feeders of a CPU."""
    monkeypatch.setattr(feeders, "OF_A_DEVICE", {"cpu": 3})


def on(predictor, *devices):
    """The same predictor on other devices, with feeders of its own."""
    old = predictor.network
    setting = replace(old.setting, device=devices[0])
    return replace(predictor, network=Network(setting, old.backend, devices))


@pytest.fixture
def met(monkeypatch):
    """Every feeder waits in its first pass until three are there, so that one alone would never end."""
    barrier, seen, upload = threading.Barrier(3), {}, Feeder.upload

    def wait(self, data):
        if self not in seen:
            seen[self] = str(self.device), threading.current_thread().name
            barrier.wait(PATIENCE)
        return upload(self, data)

    monkeypatch.setattr(Feeder, "upload", wait)
    return seen


def test_each_device_has_its_first_feeder_before_any_has_its_second():
    cuda = [torch.device("cuda", index) for index in range(2)]
    assert ways_to(cuda) == cuda * 2
    assert ways_to([FIRST]) == [FIRST]
    assert ways_to([torch.device("mps")]) == [torch.device("mps")]


def test_one_thread_alone_always_has_the_first(predictor, three):
    pool = Feeders(predictor.network.setting, "torch", [FIRST, SECOND])
    with pool.one() as first, pool.one() as second:
        assert [first.device, second.device] == [FIRST, SECOND]
    for _ in range(3):
        with pool.one() as again:
            assert again is first


def test_who_finds_none_free_waits_for_one_also_behind_an_error(predictor):
    pool, inside, let_go = Feeders(predictor.network.setting, "torch", [FIRST]), threading.Event(), threading.Event()

    def fail():
        with pool.one():
            inside.set()
            let_go.wait(PATIENCE)
            raise RuntimeError("device lost")

    def then():
        with pool.one() as feeder:
            return feeder

    with ThreadPoolExecutor(2) as threads:
        failing = threads.submit(fail)
        assert inside.wait(PATIENCE)
        waiting = threads.submit(then)
        assert not waiting.done()
        let_go.set()
        assert waiting.result(PATIENCE).device == FIRST
        assert isinstance(failing.exception(PATIENCE), RuntimeError)


def test_several_feeders_compute_at_once_and_give_the_same_bits(predictor, expected, three, met):
    several = on(predictor, FIRST)
    assert several.capabilities.feeders == 3
    np.testing.assert_array_equal(tiler.segment(VOLUME, several, **CUT), expected)
    assert {device for device, _ in met.values()} == {"cpu:0"}
    assert len({thread for _, thread in met.values()}) == 3


def test_several_devices_share_the_blocks_and_give_the_same_bits(predictor, expected, met):
    devices = [FIRST, SECOND, torch.device("cpu", 2)]
    several = on(predictor, *devices)
    np.testing.assert_array_equal(tiler.segment(VOLUME, several, **CUT), expected)
    assert sorted(device for device, _ in met.values()) == list(map(str, devices))
    assert several.identity == predictor.identity


def test_a_run_of_one_goes_on_with_several(predictor, expected, three, tmp_path):
    np.save(tmp_path / "in.npy", VOLUME)
    stop = threading.Event()

    class Stopping:
        def stage(self, name): ...
        def started(self, total, done): ...
        def warn(self, message): ...
        def finished_block(self, index, voxels):
            stop.set()

    with pytest.raises(Interrupted):
        tiler.segment(tmp_path / "in.npy", on(predictor, torch.device("cpu")), tmp_path / "out.npy",
                      listener=Stopping(), stop=stop, executor="serial", **CUT)
    tiler.segment(tmp_path / "in.npy", on(predictor, FIRST, SECOND), tmp_path / "out.npy", resume=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_an_error_of_one_feeder_is_raised_and_nothing_hangs(predictor, monkeypatch):
    original = Feeder.upload

    def upload(self, data):
        if self.device == SECOND:
            raise RuntimeError("device lost")
        return original(self, data)

    monkeypatch.setattr(Feeder, "upload", upload)
    with pytest.raises(BlockFailed, match="device lost"):
        tiler.segment(VOLUME, on(predictor, SECOND, FIRST), **CUT)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tiler-")]


class Remembers(nn.Module):
    """Leaves its input in itself on the way, as no module should, and waits for the others there."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x):
        self.kept = x
        meeting = MEETING.get("now")
        if meeting is not None:
            meeting.wait(PATIENCE)
        return self.conv(self.kept)


MEETING: dict[str, threading.Barrier] = {}


def test_what_a_module_leaves_in_itself_is_no_other_feeders(three, monkeypatch):
    predictor = on(open_predictor(Remembers(), options=replace(OPTIONS, head="sigmoid")), FIRST)
    tiles = [np.full((1, 1, 1, 8, 8), value, np.uint8) for value in (0, 100, 200)]
    alone = [predictor(tile) for tile in tiles]
    monkeypatch.setitem(MEETING, "now", threading.Barrier(3))
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(predictor, tiles))
    np.testing.assert_array_equal(together, alone)


NAMES = ("background", "cell")


@pytest.mark.parametrize(("written", "given"), [
    (Probabilities(NAMES, (1,), np.dtype(np.uint8)), "uint8"), (Labels(NAMES), "uint8"),
    (Probabilities(NAMES, (1,), np.dtype(np.float32)), "float32")])
def test_voxels_travel_in_their_own_type_and_results_in_that_of_the_output(predictor, written, given, monkeypatch):
    there, back = [], []
    upload, download = Feeder.upload, Feeder.download
    monkeypatch.setattr(Feeder, "upload", lambda self, data: there.append(data.dtype) or upload(self, data))
    monkeypatch.setattr(Feeder, "download", lambda self, values: back.append(values.dtype) or download(self, values))
    asked = replace(predictor, written=written)
    tiler.segment(VOLUME, asked, roi="0:1,0:20,0:20", **CUT)
    assert set(there) == {np.dtype(np.uint8)}
    assert set(back) == {getattr(torch, given)}


@pytest.fixture
def fake_cuda(monkeypatch):
    """Records the calls of torch.cuda in order; tensors stay on the CPU."""
    said = []

    class Event:
        def __init__(self, blocking):
            assert blocking

        def record(self, stream):
            said.append(f"record on {stream}")

        def synchronize(self):
            said.append("synchronize the event")

    @contextmanager
    def stream(which):
        said.append(f"into {which}")
        yield
        said.append(f"out of {which}")

    numbers = iter(range(9))
    fake = SimpleNamespace(Event=Event, stream=stream, Stream=lambda device: f"stream {next(numbers)} of {device}")
    monkeypatch.setattr(feeders, "cuda", fake)
    monkeypatch.setattr(feeders, "pinned_like", lambda values: said.append("pin") or torch.empty_like(values))
    return said


def test_a_gpu_has_a_stream_a_feeder_and_is_waited_for_by_event(predictor, fake_cuda, monkeypatch):
    opened = Feeder.runner.func
    monkeypatch.setattr(Feeder.runner, "func", lambda self: fake_cuda.append("open") or opened(self))
    feeder = StreamFeeder(predictor.network.setting, "torch")
    image = np.random.default_rng(0).random((1, 1, 44, 44), np.float32)
    with torch.inference_mode():
        with feeder.session():
            found = feeder.download(feeder.runner(feeder.upload(image)))
        plain = Feeder(predictor.network.setting, "torch")
        np.testing.assert_array_equal(found, plain.download(plain.runner(plain.upload(image))))
    own = "stream 0 of cpu"
    assert fake_cuda == [f"into {own}", "open", "pin", "pin", f"record on {own}", "synchronize the event",
                         f"out of {own}", "open"]


def test_every_feeder_of_a_gpu_has_a_stream(predictor, expected, fake_cuda, three, met, monkeypatch):
    monkeypatch.setattr(StreamFeeder, "upload", Feeder.upload)  # which waits until all are there
    monkeypatch.setattr(feeders, "Feeder", StreamFeeder)
    np.testing.assert_array_equal(tiler.segment(VOLUME, on(predictor, FIRST), **CUT), expected)
    assert {said for said in fake_cuda if "into" in said} == {f"into stream {n} of cpu:0" for n in range(3)}


@pytest.fixture
def gpus(monkeypatch):
    names = ["H100", "H100", "A100"]
    monkeypatch.setattr("tiler.models.inference.devices.available", lambda: ("cuda", "cpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index])


def test_devices_by_name(gpus):
    assert list(map(str, resolve_devices("cuda:0, cuda:1"))) == ["cuda:0", "cuda:1"]
    assert list(map(str, resolve_devices("cuda"))) == list(map(str, resolve_devices("auto"))) == ["cuda:0"]
    assert list(map(str, resolve_devices("cpu"))) == ["cpu"]


@pytest.mark.parametrize(("names", "message"), [
    ("cuda:0,cuda:3", "no device cuda:3 here"),
    ("cuda:0,cuda:0", "names a device twice"),
    ("cuda,cuda:0", "names a device twice"),
    ("cuda:0,cpu", "several devices are GPUs"),
    ("cpu,cpu", "several devices are GPUs.*threads="),
    ("cuda:0,", "'' is no device"),
    ("cuda:1,cuda:2", "cuda:1 is H100, cuda:2 is A100"),
])
def test_devices_that_do_not_go_together_are_one_line(gpus, names, message):
    with pytest.raises(ModelError, match=f"{message}.*device=") as refused:
        resolve_devices(names)
    assert "\n" not in str(refused.value)


def test_the_memory_of_a_device_is_shared_by_its_feeders(predictor, gpus, monkeypatch):
    free = {0: 40 << 30, 1: 10 << 30}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device.index], 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2 << 30)
    both = on(predictor, *resolve_devices("cuda:0,cuda:1"))
    assert both.capabilities.feeders == 4
    assert both.capabilities.device_memory == pytest.approx(0.8 * (12 << 30) / 2, rel=1e-6)
    assert predictor.capabilities.device_memory is None


def test_feeders_stay_where_they_are_when_a_predictor_travels(predictor, three):
    several = on(predictor, FIRST)
    with several.network.session():
        travelled = pickle.loads(pickle.dumps(several))
    assert travelled.capabilities.feeders == 3
    assert travelled(VOLUME[None, None, :1, :60, :52]).shape == several(VOLUME[None, None, :1, :60, :52]).shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_two_feeders_give_the_bits_of_one(predictor):
    gpu = on(predictor, torch.device("cuda", 0))
    alone = tiler.segment(VOLUME, gpu, executor="serial", **CUT)
    np.testing.assert_array_equal(tiler.segment(VOLUME, gpu, executor="threads", **CUT), alone)
