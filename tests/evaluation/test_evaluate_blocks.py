"""`tiler.evaluate` by the protocols of objects and classes: blocks change nothing, memory is bounded."""

from __future__ import annotations

import json
import re
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
from tiler.running.perform import Silent
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
    array[...] = 1
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
    (TRUTH / np.float32(8), TRUTH, {"protocol": "snemi3d"}, "segments of the proposal hold 0.*probabilities"),
    (TRUTH, TRUTH / 3, {"protocol": "cremi"}, "the labels hold 2.33333, ids are whole numbers"),
    (TRUTH, np.where(TRUTH, TRUTH, np.nan), {"protocol": "semantic"}, "the labels hold NaN in .* of 6480 voxels"),
    (TRUTH, (TRUTH + 2**25).astype(np.float32), {"protocol": "cremi"}, "float32, which is exact up to 16777216 only"),
    (TRUTH, TRUTH.astype(np.int32) - 2, {"protocol": "cremi"}, "ids from 0, the smallest is -2"),
    (TRUTH, TRUTH, {"protocol": "snemi3d", "ignore_label": 2**64}, "labels are 64-bit integers, 18446744073709551616"),
    (TRUTH, TRUTH * 0, {"protocol": "instances"}, "the labels hold no object"),
    (TRUTH, TRUTH, {"protocol": "cremi", "invert": True}, "invert= belongs to the protocol isbi2012"),
    (TRUTH, TRUTH * 1000, {"protocol": "semantic"}, "class 8000 occurs, at most 1024 classes"),
    (TRUTH, TRUTH, {"protocol": "semantic", "classes": ["a", "b"]}, "class 8 occurs, 2 classes were named"),
    (TRUTH * 0, TRUTH * 0, {"protocol": "semantic"}, "the labels hold only class '0'"),
    (TRUTH, TRUTH * 0 + 3, {"protocol": "semantic", "ignore_label": 3}, "every voxel bears the label to ignore"),
    (np.stack([TRUTH] * 3), TRUTH, {"protocol": "cremi"}, "3 channels .a colour image"),
    (np.stack([TRUTH] * 3), TRUTH, {"protocol": "cremi", "channel": 7}, "3 channels; got 7"),
    (TRUTH[1:], TRUTH, {"protocol": "snemi3d"}, r"\(5, 36, 30\).*\(6, 36, 30\)"),
    (TRUTH, TRUTH, {"protocol": "snemi3d", "image": TRUTH}, "image= belongs to the protocol isbi2012"),
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


VOID = [(-1, np.int16), (-1, np.int64), (-100, np.int8), (-3, np.float32), (255, np.uint8), (2**64 - 1, np.uint64),
        (2**64 - 1, np.int64), (-1, np.uint64), (-1, np.float64)]


@pytest.mark.parametrize("protocol", [*SCORES, "semantic"])
@pytest.mark.parametrize(("void", "dtype"), VOID)
def test_voxels_with_a_void_label_are_left_out_whatever_integer_it_is(protocol, void, dtype):
    left_out = RANDOM.random(TRUTH.shape) < 0.3
    written = void + 2**64 if np.dtype(dtype).kind == "u" and void < 0 else void
    written = written - 2**64 if dtype is np.int64 and written > 0 else written
    labels = TRUTH.astype(dtype)
    labels[left_out] = written
    found = tiler.evaluate(FOUND, labels, protocol, ignore_label=void)
    mask = tiler.evaluate(FOUND, TRUTH, protocol, mask=~left_out)
    if protocol != "cremi":
        assert found.scores == mask.scores
    else:  # its Rand error is a share of the whole volume
        table = ContingencyTable.of(TRUTH[~left_out], FOUND[~left_out])
        assert found.scores["voi_split"] == mask.scores["voi_split"]
        assert found.scores == score_cremi(table + ContingencyTable.of(TRUTH[left_out] * 0, FOUND[left_out])).headline()
    assert found.notes == mask.notes == ()


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint64])
def test_cremi_leaves_out_what_the_challenge_marks(dtype):
    mark = 2**64 - 1 if dtype is np.uint64 else -1
    labels, reference = TRUTH.astype(dtype), TRUTH.astype(np.uint64)
    labels[2], reference[2] = mark, 2**64 - 1
    wanted = score_cremi(ContingencyTable.of(reference, FOUND)).headline()
    assert tiler.evaluate(FOUND, labels, "cremi").scores == wanted


@pytest.mark.parametrize("protocol", [*SCORES, "semantic"])
def test_whole_numbers_in_floats_are_labels(protocol):
    wanted = tiler.evaluate(FOUND, TRUTH, protocol).scores
    for dtype in (np.float16, np.float32, np.float64):
        assert tiler.evaluate(FOUND.astype(dtype), TRUTH.astype(dtype), protocol).scores == wanted


COLUMNS = np.arange(1, 17).reshape(1, 4, 4).repeat(5, 0).repeat(4, 1).repeat(4, 2)
BY_SLICE = COLUMNS + 16 * np.arange(5)[:, None, None]
SHUFFLED = np.stack([np.random.default_rng(z).permutation(16)[plane - 1] + 1 for z, plane in enumerate(COLUMNS)])
MASK = (COLUMNS % 2).astype(np.uint8)


@pytest.mark.parametrize(("proposal", "labels", "options", "said"), [
    (MASK * 255, MASK, {"protocol": "semantic"}, "the labels are 0 or 1, the proposal is 0 or 255.*`binary`"),
    (MASK, MASK * 255, {"protocol": "semantic"}, "the labels are 0 or 255, the proposal is 0 or 1"),
    (MASK * 5 + 2, MASK, {"protocol": "semantic"}, "share no class but 0: the labels hold 1, the proposal 2, 7"),
    (MASK * 255, COLUMNS, {"protocol": "instances"}, "the proposal holds one object, 255, and the labels 16: a mask"),
    (COLUMNS, MASK, {"protocol": "snemi3d"}, "the labels hold one object, 1, and the proposal 16: a mask"),
    (MASK, MASK * 255, {"protocol": "instances"}, "hold one object each, 255 and 1: masks"),
    (BY_SLICE, COLUMNS, {"protocol": "cremi"}, "numbered slice by slice"),
    (SHUFFLED, COLUMNS, {"protocol": "instances"}, "numbered slice by slice"),
    (COLUMNS, COLUMNS, {"protocol": "semantic", "ignore_label": -1}, "no voxel of the labels is -1"),
])
def test_wrong_kinds_of_input_are_said_in_one_line(proposal, labels, options, said):
    found = tiler.evaluate(proposal, labels, **options)
    assert len(found.notes) == 1
    assert re.search(said, found.notes[0])
    assert "\n" not in found.notes[0]
    assert f"note: {found.notes[0]}" in found.table()


@pytest.mark.parametrize(("proposal", "labels", "options"), [
    (COLUMNS + 5, COLUMNS, {"protocol": "snemi3d"}),
    (BY_SLICE[:1], COLUMNS[:1], {"protocol": "instances"}),
    (MASK * 255, MASK, {"protocol": "semantic", "binary": True}),
    (MASK * 2, MASK + MASK * (COLUMNS > 8), {"protocol": "semantic"}),
])
def test_right_kinds_of_input_give_no_hint(proposal, labels, options):
    assert tiler.evaluate(proposal, labels, **options).notes == ()
