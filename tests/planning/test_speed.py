"""Measured speed of networks: when it is measured and where it is stored."""

import json
import os
import threading
import time
from dataclasses import dataclass, replace
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest

from tiler import api, machine
from tiler.errors import ModelError
from tiler.geometry import Box
from tiler.models import PredictorOptions, UNet, open_predictor
from tiler.planning import speed as tuning
from tiler.planning.plan import Plan, Settings
from tiler.planning.resolve import resolve
from tiler.planning.speed import Speed, measure, speed_of
from tiler.ports import Capabilities
from tiler.sources import open_source
from tiler.testing.predictors import PoolingNet

pytestmark = pytest.mark.usefixtures("small_process")

SOURCE = open_source(np.zeros((300, 300), np.uint8))
REGION = Box.of_shape((1, 300, 300))


@dataclass(frozen=True)
class Slow(PoolingNet):
    """Sleeps for as long as its operations would take, and a moment for every call."""

    name: str = "slow"
    moment: float = 1e-3

    @property
    def identity(self):
        return {**super().identity, "name": self.name}

    def cost(self, tile, batch):
        return replace(super().cost(tile, batch), flops=1e10 * float(np.prod(tile)))

    def __call__(self, batch):
        time.sleep(self.moment + 1e-7 * batch.size)
        return np.zeros((len(batch), 1, *self.footprint.output(batch.shape[2:])), np.int64)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setattr(machine.Contention, "found", False)
    return tmp_path


def counted(monkeypatch):
    calls = []
    monkeypatch.setattr(tuning, "measure", lambda *args: calls.append(args) or Speed(((1e9, 0.5),)))
    return calls


def test_seconds_between_and_beyond_what_was_measured():
    speed = Speed(((1e6, 0.01), (1e8, 0.1), (1e10, 10.0)))
    assert speed.call(1e8) == pytest.approx(0.1)
    assert speed.call(1e7) == pytest.approx(10**-1.5)
    assert speed.call(2e10) == pytest.approx(20.0)
    assert speed.call(1.0) == pytest.approx(0.01), "a call takes its time however little it does"
    assert speed.passes(3e8, 3) == pytest.approx(0.3)
    assert speed.operation == pytest.approx(1e-9)


def test_tiles_of_growing_size_are_measured_within_the_time(monkeypatch):
    monkeypatch.setattr(tuning, "SECONDS", 0.5)
    speed = measure(Slow(), SOURCE, REGION.shape)
    flops, seconds = zip(*speed.points, strict=True)
    assert len(flops) >= 2
    assert list(flops) == sorted(flops)
    assert max(flops) <= 1e10 * 400**2, "no tile is larger than the region needs"
    assert min(seconds) >= 1e-3


def test_networks_that_refuse_the_smallest_tile_are_measured_from_the_first_that_they_take(monkeypatch):
    class Deep(Slow):
        def cost(self, tile, batch):
            if tile == tuning._tile(self, tuning.CORES[0]):
                raise ModelError("expected more than 1 spatial element")
            return super().cost(tile, batch)

    monkeypatch.setattr(tuning, "SECONDS", 0.1)
    (flops, _), *_ = measure(Deep(), SOURCE, (1, 96, 96)).points
    assert flops == Slow().cost(tuning._tile(Slow(), tuning.CORES[1]), 1).flops


def test_feeders_are_measured_together(home, monkeypatch):
    meeting = threading.Barrier(3)

    class Fed(Slow):
        capabilities = Capabilities(feeders=3)

        def __call__(self, batch):
            meeting.wait(20.0)
            return super().__call__(batch)

    monkeypatch.setattr(tuning, "SECONDS", 0.5)
    # A moment so long that starting three threads on a busy machine is little beside it.
    alone, together = (measure(net, SOURCE, (1, 32, 32)).points[0] for net in (Slow(moment=0.1), Fed(moment=0.1)))
    assert together[0] == alone[0]
    assert together[1] < alone[1], "what three take at once is shared by three"
    assert tuning._key(Fed()) != tuning._key(Slow())


def test_tiles_that_exceed_the_memory_are_not_tried(home):
    network = Slow()
    assert speed_of(network, SOURCE, REGION, memory=1) is None
    assert not network.calls


def test_small_work_is_neither_measured_nor_looked_up(home, monkeypatch):
    calls = counted(monkeypatch)
    assert speed_of(PoolingNet(), SOURCE, REGION) is None
    assert resolve(Settings(memory=4 * 10**9), SOURCE, PoolingNet(), tune=True).estimate.seconds is None
    assert not calls
    assert not list(home.iterdir())


def test_what_was_measured_is_kept_for_this_network_alone(home, monkeypatch):
    calls = counted(monkeypatch)
    first = speed_of(Slow(), SOURCE, REGION)
    assert speed_of(Slow(), SOURCE, REGION) == first
    assert len(calls) == 1
    speed_of(Slow(name="other"), SOURCE, REGION)
    assert len(calls) == 2
    monkeypatch.setattr(tuning, "cores", lambda: 99)
    speed_of(Slow(), SOURCE, REGION)
    assert len(calls) == 3
    assert len(list((home / "tiler" / "speed").iterdir())) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"points": []}', '{"points": [[2, 1], [1, 1]]}',
                                     '{"points": [[1, NaN]]}', '{"points": [["a", 1]]}', '{"points": 3}', "\udcff"])
def test_a_damaged_file_is_measured_again(home, monkeypatch, content):
    calls = counted(monkeypatch)
    speed_of(Slow(), SOURCE, REGION)
    (file,) = (home / "tiler" / "speed").iterdir()
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert speed_of(Slow(), SOURCE, REGION) == Speed(((1e9, 0.5),))
    assert len(calls) == 2
    assert json.loads(file.read_text())


def test_writers_beside_each_other_leave_one_whole_file(home, monkeypatch):
    counted(monkeypatch)
    with ThreadPool(8) as pool:
        found = pool.map(lambda _: speed_of(Slow(), SOURCE, REGION), range(32))
    assert set(found) == {Speed(((1e9, 0.5),))}
    assert len(os.listdir(home / "tiler" / "speed")) == 1


def test_a_cache_that_cannot_be_written_costs_nothing_but_the_measurement(home, monkeypatch):
    counted(monkeypatch)
    (home / "tiler").write_text("in the way")
    assert speed_of(Slow(), SOURCE, REGION) == Speed(((1e9, 0.5),))


def test_the_plan_foretells_the_time_and_prefers_what_was_measured_as_fast(home, monkeypatch):
    settings = Settings(memory=4 * 10**9)
    dear = Speed(((3e13, 1e-3), (3e14, 1e3)))  # beyond a point every operation takes a hundred times as long
    cheap = Speed(((1e12, 1e-3),))
    tiles = []
    for speed in (dear, cheap):
        monkeypatch.setattr("tiler.planning.resolve.speed_of", lambda *_, speed=speed: speed)
        plan = resolve(settings, SOURCE, Slow(), tune=True)
        tiles.append(plan.tile[1])
        assert plan.estimate.seconds == pytest.approx(speed.passes(plan.estimate.flops, plan.estimate.tiles))
        assert "seconds" not in plan.provenance()["estimate"]
        assert Plan.from_json(plan.to_json()) == plan
    assert tiles[0] < tiles[1]


@pytest.mark.slow
def test_the_expected_time_is_within_20_percent(home, monkeypatch):
    """On a quiet machine."""
    monkeypatch.setattr(tuning, "WORTH", 0.0)
    predictor = open_predictor(UNet(base=16, padding="same").eval(), options=PredictorOptions(head="softmax"))
    image = np.random.default_rng(0).random((1500, 1500), dtype=np.float32)
    expected = api.plan(image, predictor).estimate.seconds
    begun = time.perf_counter()
    api.segment(image, predictor)
    assert expected == pytest.approx(time.perf_counter() - begun, rel=0.2)


def test_no_tune_measures_nothing(home, monkeypatch):
    calls = counted(monkeypatch)
    image = np.zeros((300, 300), np.uint8)
    assert api.plan(image, Slow(), tune=False).estimate.seconds is None
    assert not calls
    assert api.plan(image, Slow()).estimate.seconds
    assert len(calls) == 1


def test_what_was_measured_under_load_is_not_kept(home, monkeypatch):
    calls = counted(monkeypatch)
    monkeypatch.setattr(machine.Contention, "found", True)
    for _ in range(2):
        assert speed_of(Slow(), SOURCE, REGION) is not None
    assert len(calls) == 2
    monkeypatch.setattr(machine.Contention, "found", False)
    for _ in range(2):
        speed_of(Slow(), SOURCE, REGION)
    assert len(calls) == 3


@pytest.mark.parametrize(("others", "idle", "found"), [(0.0, 1.0, False), (1.5, 0.0, True), (1.5, 30.0, False)])
def test_others_on_a_full_machine_are_noticed(monkeypatch, others, idle, found):
    """The counters of the system say whether other processes took time that this one could have used."""
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(machine.time, "process_time", iter([0.0, 2.0]).__next__)
    monkeypatch.setattr(machine.time, "monotonic", iter([0.0, 2.0]).__next__)
    monkeypatch.setattr(machine, "_processor_seconds", iter([(0.0, 0.0), (2.0 + others, idle)]).__next__)
    assert machine.Contention().found is found
