"""`tiler.evaluate` by the protocols of objects and classes: blocks change nothing, memory is bounded."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import tiler
from tiler.errors import Interrupted, PlanError, SourceError
from tiler.evaluation.pair import Pair, Part, block_shape
from tiler.evaluation.streaming import Total, count_blocks
from tiler.geometry import Box
from tiler.metrics import (
    ConfusionMatrix,
    ContingencyTable,
    SemanticResult,
    score_cremi,
    score_instances,
    score_snemi3d,
)
from tiler.running.stages import Silent
from tiler.sources import open_source

RANDOM = np.random.default_rng(5)
TRUTH = RANDOM.integers(0, 9, (6, 12, 10), dtype=np.uint32).repeat(3, 1).repeat(3, 2)
FOUND = np.where(RANDOM.random(TRUTH.shape) < 0.2, RANDOM.integers(0, 12, TRUTH.shape), TRUTH + 1).astype(np.uint64)
SCORES = {"instances": score_instances, "snemi3d": score_snemi3d, "cremi": score_cremi}


def part(array, box=None):
    return Part(open_source(array), box or Box.of_shape(array.shape))


@pytest.mark.parametrize("protocol", SCORES)
@pytest.mark.parametrize("workers", [1, 3])
def test_scores_of_files_are_those_of_the_arrays(tmp_path, protocol, workers):
    zarr.create_array(tmp_path / "t.zarr", data=TRUTH, chunks=(2, 16, 16))
    zarr.create_array(tmp_path / "f.zarr", data=FOUND, chunks=(3, 8, 30))
    wanted = SCORES[protocol](ContingencyTable.of(TRUTH, FOUND))
    found = tiler.evaluate(tmp_path / "f.zarr", tmp_path / "t.zarr", protocol, workers=workers)
    assert found.scores == wanted.headline()
    assert found.protocol == protocol
    assert found.thresholds_reached == {}
    loaded = json.loads(found.to_json())
    assert loaded["scores"].keys() == wanted.headline().keys()
    assert loaded["protocol"] == protocol


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_blocks_cut_a_region_without_gap_or_overlap(data):
    start = [data.draw(st.integers(0, size - 1)) for size in TRUTH.shape]
    stop = [data.draw(st.integers(a + 1, size)) for a, size in zip(start, TRUTH.shape, strict=True)]
    region, voxels = Box.between(start, stop), data.draw(st.integers(1, 4000))
    pair = Pair(part(FOUND, region), part(TRUTH, region))
    seen = np.zeros(pair.shape, int)
    for block in pair.blocks(voxels):
        assert block.voxels
        seen[block.slices] += 1
    assert (seen == 1).all()
    counted = count_blocks(pair, 1, Silent(), threading.Event(), voxels)
    assert counted == ContingencyTable.of(TRUTH[region.slices], FOUND[region.slices])


def test_blocks_lie_on_the_chunks_of_the_volume(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(10, 64, 64), chunks=(4, 16, 16), dtype="uint8")
    source = open_source(tmp_path / "a.zarr")
    region = Box.between((3, 8, 0), (9, 64, 60))
    blocks = [box.shift(region.start) for box in Pair(Part(source, region), Part(source, region)).blocks(4 * 16 * 64)]
    assert array.chunks == source.read_unit
    for block in blocks:
        for edges in zip(block.spans, region.spans, source.read_unit, strict=True):
            span, whole, chunk = edges
            assert span.start % chunk == 0 or span.start == whole.start
            assert span.stop % chunk == 0 or span.stop == whole.stop
    assert len(blocks) == 3 * 4


@settings(deadline=None, max_examples=60)
@given(st.tuples(*[st.integers(1, 50)] * 3), st.tuples(*[st.integers(1, 300)] * 3), st.integers(1, 10**6))
def test_a_block_is_whole_chunks_and_not_too_large(unit, shape, voxels):
    size = block_shape(unit, shape, voxels)
    smallest = [min(a, b) for a, b in zip(unit, shape, strict=True)]
    assert all(a % b == 0 for a, b in zip(size, smallest, strict=True))
    assert np.prod(size) <= max(voxels, np.prod(smallest))


def test_a_total_merges_like_a_counter():
    total, tables = Total(), [ContingencyTable.of(np.array([k]), np.array([k % 7])) for k in range(64)]
    for table in tables:
        total.add(table)
        assert len(total.tables) <= 8
    wanted = ContingencyTable.of(np.arange(64), np.arange(64) % 7)
    assert total.result() == wanted


def test_a_mask_leaves_voxels_out():
    mask = RANDOM.random(TRUTH.shape) < 0.5
    found = tiler.evaluate(FOUND, TRUTH, "snemi3d", mask=mask.astype(np.uint8))
    assert found.scores == score_snemi3d(ContingencyTable.of(TRUTH[mask], FOUND[mask])).headline()
    with pytest.raises(PlanError, match="the mask is 0 everywhere"):
        tiler.evaluate(FOUND, TRUTH, "snemi3d", mask=np.zeros(TRUTH.shape, np.uint8))


def test_semantic_scores_come_from_the_table():
    truth, found = TRUTH % 3, (FOUND % 3).astype(np.uint8)
    wanted = SemanticResult(ConfusionMatrix.of(found, truth, 3), ("0", "1", "2"))
    assert tiler.evaluate(found, truth, "semantic").result.to_dict() == wanted.to_dict()
    ignored = SemanticResult(ConfusionMatrix.of(found, truth, 3, ignore=0), ("a", "b", "c"))
    assert tiler.evaluate(found, truth, "semantic", ignore_label=0, classes=["a", "b", "c"]).result.to_dict() == \
        ignored.to_dict()
    binary = SemanticResult(ConfusionMatrix.of(found > 0, truth > 0, 2), ("0", "1"))
    assert tiler.evaluate(found, truth * 127, "semantic", binary=True).scores == binary.headline()


@pytest.mark.parametrize(("proposal", "labels", "options", "message"), [
    (TRUTH.astype(np.float32), TRUTH, {"protocol": "snemi3d"}, "the proposal array holds float32.*ids, which are int"),
    (TRUTH, TRUTH.astype(np.float64), {"protocol": "cremi"}, "the labels array hold float64"),
    (TRUTH, TRUTH.astype(np.int32) - 1, {"protocol": "cremi"}, "ids from 0, the smallest is -1"),
    (TRUTH, TRUTH * 0, {"protocol": "instances"}, "the labels hold no object"),
    (TRUTH, TRUTH, {"protocol": "cremi", "invert": True}, "--invert belongs to the protocol isbi2012"),
    (TRUTH, TRUTH * 1000, {"protocol": "semantic"}, "class 8000 occurs, at most 1024 classes"),
    (TRUTH, TRUTH, {"protocol": "semantic", "classes": ["a", "b"]}, "class 8 occurs, 2 classes were named"),
    (TRUTH * 0, TRUTH * 0, {"protocol": "semantic"}, "the labels hold only class '0'"),
    (TRUTH, TRUTH * 0 + 3, {"protocol": "semantic", "ignore_label": 3}, "every voxel bears the label to ignore"),
    (np.stack([TRUTH] * 3), TRUTH, {"protocol": "cremi"}, "3 channels .a colour image"),
    (np.stack([TRUTH] * 3), TRUTH, {"protocol": "cremi", "channel": 7}, "3 channels; got 7"),
    (TRUTH[1:], TRUTH, {"protocol": "snemi3d"}, r"\(5, 36, 30\).*\(6, 36, 30\)"),
    (TRUTH, TRUTH, {"protocol": "snemi3d", "image": TRUTH}, "--image belongs to the protocol isbi2012"),
])
def test_wrong_volumes_are_one_line(tmp_path, proposal, labels, options, message):
    report = {"report": tmp_path / "r.html"} if "image" in options else {}
    with pytest.raises((PlanError, SourceError), match=message) as caught:
        tiler.evaluate(proposal, labels, **options, **report)
    assert "\n" not in str(caught.value)


def test_a_run_over_blocks_can_be_stopped():
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        tiler.evaluate(FOUND, TRUTH, "cremi", stop=stop)
