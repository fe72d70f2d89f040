"""Chunks are decoded as often as the plan says, whatever the grid; and order and cache change no voxel."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.executors import open_executor
from tiler.geometry import Box, Footprint, Span
from tiler.jobs.segment import SegmentJob
from tiler.planning.block_order import AxisChunks, best_visit, in_strips
from tiler.planning.plan import Plan, Settings
from tiler.planning.resolve import resolve
from tiler.planning.workload import Choice, Workload
from tiler.ports import Capabilities, OutputSpec
from tiler.sinks import open_sink
from tiler.sources import open_source
from tiler.sources.cached import CachedSource
from tiler.testing.predictors import PoolingAxis, PoolingNet
from tiler.testing.sources import SourceConformance

pytestmark = pytest.mark.usefixtures("small_process")

GB = 10**9


@dataclass(eq=False)
class Counting:
    """A source in chunks that notes each one that is decoded."""

    array: np.ndarray
    read_unit: tuple[int, int, int]
    seen: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __getattr__(self, name):
        return getattr(open_source(self.array, axes="zyx"), name)

    def read(self, box):
        ranges = [range(s.start // u, -(-s.stop // u)) for s, u in zip(box.spans, self.read_unit, strict=True)]
        with self.lock:
            self.seen += [(z, y, x) for z in ranges[0] for y in ranges[1] for x in ranges[2]]
        return self.array[None, *box.slices]

    @property
    def voxels(self):
        spans = [[min((at + 1) * unit, size) - at * unit for at, unit, size in
                  zip(cell, self.read_unit, self.array.shape, strict=True)] for cell in self.seen]
        return int(np.prod(spans, axis=1).sum())


@st.composite
def runs(draw):
    """A volume in chunks, a network, and a plan whose cache holds all, some or none of the shared chunks."""
    shape = tuple(draw(st.integers(1, 40)) for _ in range(3))
    source = Counting(np.random.default_rng(draw(st.integers(0, 9))).integers(0, 250, shape),
                      tuple(draw(st.integers(1, 16)) for _ in range(3)))
    net = PoolingNet(tuple(draw(st.sampled_from([None, PoolingAxis(1, 1, 1, 2)])) for _ in range(3)))
    core = tuple(draw(st.integers(1, 12)) for _ in range(3))
    block = tuple(draw(st.integers(4, 24)) for _ in range(3))
    plan = resolve(Settings(tile=net.footprint.covering(core), block=block, memory=4 * GB), source, net)
    return source, net, plan


def chunks(plan, source):
    load = Workload(source, Given(plan.footprint), plan.region, plan.canvas)
    return load.chunks(Choice(plan.tile, plan.block))


@dataclass
class Given:
    footprint: Footprint
    capabilities = Capabilities()


def later(plan, source, strip):
    return tuple(axis.successors(length) for axis, length in zip(chunks(plan, source), strip, strict=True))


def outcome(plan, source, net, executor="serial"):
    spec = OutputSpec((1, *plan.region.shape), net.dtype, source.calibration, ("cell",), False, plan.block, plan.chunk)
    sink = open_sink(None, spec)
    sink.create()
    job = SegmentJob(plan, source, net, sink)
    for _ in open_executor(executor, 2).run(job, plan.order, threading.Event()):
        pass
    return np.asarray(sink.array)


@settings(deadline=None, max_examples=30)
@given(runs(), st.sampled_from(["serial", "threads"]))
def test_chunks_are_decoded_as_often_as_planned(case, executor):
    source, net, plan = case
    cached = CachedSource(source, plan.cache, later(plan, source, plan.strip)) if plan.cache else source
    result = outcome(plan, cached, net, executor)
    assert source.voxels * source.array.itemsize == plan.estimate.bytes_decoded
    if plan.cache:
        assert cached.decoded == source.voxels
    apart = outcome(replace(plan, strip=(1, 1, 1)), Counting(source.array, source.read_unit), net)
    np.testing.assert_array_equal(result, apart)


@settings(deadline=None, max_examples=15)
@given(runs(), st.integers(0, 200_000))
def test_a_smaller_cache_never_decodes_more_than_foretold(case, budget):
    source, net, plan = case
    axes = chunks(plan, source)
    visit = best_visit(axes, 8, budget, 2)
    assert visit.memory <= budget
    cached = CachedSource(source, visit.cache, later(plan, source, visit.strip))
    outcome(replace(plan, strip=visit.strip), cached, net)
    assert cached.decoded == source.voxels <= visit.decoded
    assert visit.decodes == visit.decoded / np.prod([axis.whole for axis in axes])


def test_a_large_volume_is_decoded_little_more_than_once():
    """Blocks of 384 with 188 voxels of context between chunks of 64: 2.4 times along each axis without a cache."""
    starts = range(0, 20_000, 384)
    axis = AxisChunks([Span(max(0, at - 92), min(20_000, at + 480)) for at in starts], 64, 20_000)
    assert best_visit([axis] * 3, 1, 0, 2).decodes > 3
    best = best_visit([axis] * 3, 1, 6 << 30, 2)
    assert best.decodes < 1.2
    assert best.memory <= 6 << 30


@given(st.tuples(*[st.integers(1, 7)] * 3), st.tuples(*[st.integers(1, 8)] * 3))
def test_every_block_is_visited_once(counts, strip):
    assert sorted(in_strips(counts, strip)) == list(range(np.prod(counts)))


def test_strips_are_visited_one_after_the_other():
    assert list(in_strips((1, 2, 5), (1, 2, 3))) == [0, 1, 2, 5, 6, 7, 3, 4, 8, 9]


def test_order_and_cache_are_not_in_the_fingerprint():
    source = Counting(np.zeros((40, 40, 40), np.uint8), (8, 8, 8))
    net = PoolingNet((PoolingAxis(),) * 3)
    plans = [resolve(Settings(tile=(22, 22, 22), block=(8, 8, 8), memory=memory), source, net)
             for memory in (GB, 4 * GB)]
    assert plans[0].cache
    assert plans[0].estimate.decodes < 1.2
    assert plans[0].fingerprint == replace(plans[1], strip=(1, 1, 1), cache=0).fingerprint
    assert plans[0].provenance() == replace(plans[1], strip=(1, 1, 1), cache=0).provenance()
    assert Plan.from_json({**plans[0].to_json()}) == plans[0]
    old = {name: value for name, value in plans[0].to_json().items() if name not in ("strip", "cache")}
    assert list(Plan.from_json(old).order) == list(range(125))


class TestCachedSource(SourceConformance):
    """With room for three of its chunks."""

    @pytest.fixture
    def expected(self):
        return np.random.default_rng(0).integers(0, 250, (1, 5, 21, 30), dtype=np.uint8)

    @pytest.fixture
    def source(self, tmp_path, expected):
        array = zarr.create_array(tmp_path / "v.zarr", shape=expected.shape[1:], chunks=(2, 8, 8), dtype=np.uint8)
        array[:] = expected[0]
        return CachedSource(open_source(tmp_path / "v.zarr", axes="zyx"), 3 * 128)


def test_threads_wait_for_a_chunk_that_one_of_them_reads():
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Counting):
        def read(self, box):
            entered.set()
            assert go_on.wait(20)
            return super().read(box)

    source = Slow(np.arange(64).reshape(4, 4, 4), (4, 4, 4))
    cached = CachedSource(source, 1 << 20)
    box = Box.of_shape((4, 4, 4))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cached.read, box)
        assert entered.wait(20)
        second = pool.submit(cached.read, box)
        go_on.set()
        np.testing.assert_array_equal(first.result(20), second.result(20))
    assert len(source.seen) == 1


def test_an_error_is_heard_and_the_chunk_tried_again():
    class Failing(Counting):
        def read(self, box):
            if not self.seen:
                self.seen.append((0, 0, 0))
                raise OSError("gone")
            return super().read(box)

    cached = CachedSource(Failing(np.arange(64).reshape(4, 4, 4), (2, 4, 4)), 1 << 20)
    with pytest.raises(OSError, match="gone"):
        cached.read(Box.of_shape((4, 4, 4)))
    np.testing.assert_array_equal(cached.read(Box.of_shape((4, 4, 4)))[0], cached.source.array)


def test_the_cache_stays_within_its_budget_and_is_not_pickled():
    source = Counting(np.zeros((1, 8, 64), np.uint8), (1, 8, 8))
    cached = CachedSource(source, 3 * 64)
    for start in range(0, 64, 8):
        cached.read(Box.between((0, 0, start), (1, 8, start + 8)))
        assert sum(chunk.result().nbytes for chunk in cached._kept.values()) == cached._bytes <= 3 * 64
    again = pickle.loads(pickle.dumps(CachedSource(open_source(source.array, axes="zyx"), 5)))
    assert (again.budget, again.decoded, again.shape) == (5, 0, (1, 1, 8, 64))


def test_arrays_in_memory_are_not_copied_into_a_cache():
    plan = resolve(Settings(tile=(22, 22, 22), block=(8, 8, 8)), open_source(np.zeros((40, 40, 40), np.uint8)),
                   PoolingNet((PoolingAxis(),) * 3))
    assert plan.cache == 0
