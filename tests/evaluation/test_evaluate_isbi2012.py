"""`tiler.evaluate` by isbi2012: inputs, their interpretation, and scores that no way of reading changes."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

import tiler
from tiler.errors import Interrupted, PlanError, SinkError, SourceError
from tiler.evaluation.meaning import Meaning
from tiler.metrics import Isbi2012Result, score_slice

SAMPLES = Path(__file__).parents[2] / "data_samples"
CASES = json.loads((Path(__file__).parents[1] / "metrics" / "isbi_cases" / "cases.json").read_text())


@pytest.fixture(scope="module")
def labels():
    return tifffile.imread(SAMPLES / "sstem_labels.tif")[:3, :96, :80]


@pytest.fixture(scope="module")
def cells(labels):
    """A plausible P(cell): the labels, blurred, with noise."""
    noise = np.random.default_rng(1).normal(0, 0.15, labels.shape)
    soft = (labels.astype(np.float64) + np.roll(labels, 1, 1) + np.roll(labels, 1, 2)) / (3 * 255)
    return np.clip(soft + noise, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def expected(cells, labels):
    return Isbi2012Result(tuple(map(score_slice, cells, labels))).official


class Listening:
    """A listener that records all calls and can stop a run after some blocks."""

    def __init__(self, stop_after=None):
        self.warnings, self.blocks, self.stages, self.totals = [], [], [], []
        self.stop, self.stop_after = threading.Event(), stop_after

    def stage(self, name):
        self.stages.append(name)

    def started(self, total, done):
        self.totals.append(total)

    def finished_block(self, index, voxels):
        self.blocks.append((index, voxels))
        if self.stop_after is not None and len(self.blocks) >= self.stop_after:
            self.stop.set()

    def warn(self, message):
        self.warnings.append(message)


def written(path, array, classes, kind="probabilities", names=(), region=None):
    """A proposal with the metadata of an output of `tiler segment`."""
    region = region or [[0] * 3, list(array.shape[-3:])]
    plan = {"region": region, "essence": {"model": {"names": list(names)}}}
    about = {"kind": kind, "classes": list(classes), "plan": plan}
    if path.suffix == ".zarr":
        group = zarr.open_group(path, mode="w")
        axes = [{"name": name, "type": "channel" if name == "c" else "space"} for name in "czyx"[-array.ndim:]]
        scale = [{"type": "scale", "scale": [1.0] * array.ndim}]
        group.attrs["ome"] = {"version": "0.5", "multiscales": [
            {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]}
        group.attrs["tiler"] = about
        group.create_array("0", data=array, chunks=array.shape)
    else:
        np.save(path, array)
        Path(f"{path}.tiler.json").write_text(json.dumps(about))
    return path


def test_scores_are_those_of_the_slices(cells, labels, expected):
    listener = Listening()
    found = tiler.evaluate(cells, labels, listener=listener)
    assert found.official == found.scores == expected
    assert found.thresholds_reached.keys() == expected.keys()
    assert listener.blocks == [(z, 96 * 80) for z in range(3)]
    assert (listener.stages, listener.totals, listener.warnings) == (["slices"], [3], [])


def test_workers_change_nothing(tmp_path, cells, labels):
    tifffile.imwrite(tmp_path / "p.tif", cells, photometric="minisblack")
    np.save(tmp_path / "l.npy", labels)
    one, two = (tiler.evaluate(tmp_path / "p.tif", tmp_path / "l.npy", workers=n) for n in (1, 3))
    assert one.to_json() == two.to_json()


@pytest.mark.parametrize("case", [case for case in CASES["cases"] if case["family"] == "tiny"][:8],
                         ids=lambda case: case["name"])
def test_the_json_is_the_references(case):
    """Official scores and their keys through files, sources and JSON; degenerate labels are refused."""
    folder = Path(__file__).parents[1] / "metrics" / "isbi_cases"
    files = {name: folder / case["files"][name] for name in ("proposal", "labels", "mask") if name in case["files"]}
    truth = tifffile.imread(files["labels"])
    if truth.all() or not truth.any():
        with pytest.raises(PlanError, match="the labels are all"):
            tiler.evaluate(**files)
        return
    found = json.loads(tiler.evaluate(**files).to_json())
    assert found["official"].keys() == found["thresholds_reached"].keys() == case["official"].keys()
    for name, value in case["official"].items():
        assert found["official"][name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_what_tiler_segments_is_scored_by_its_class_names(tmp_path, cells, labels, expected):
    membrane = written(tmp_path / "m.npy", 1 - cells, ["membrane"])
    both = written(tmp_path / "b.zarr", np.stack([1 - cells, cells]), ["membrane", "cell"])
    cell = written(tmp_path / "c.zarr", cells, ["cell"])
    for path, said in ((membrane, "it is inverted"), (both, "holds P(cell), channel 1 of 2"), (both / "0", "P(cell)")):
        listener = Listening()
        found = tiler.evaluate(path, labels, listener=listener)
        assert found.scores == pytest.approx(expected, rel=1e-6), path
        assert said in listener.warnings[0]
        assert said in found.table()
        assert said in json.loads(found.to_json())["notes"][0]
    assert tiler.evaluate(cell, labels).scores == expected
    assert tiler.evaluate(cell, labels).notes == ()


def test_class_labels_are_scored_by_the_class_that_is_cell(tmp_path, cells, labels):
    mask = (cells > 0.5).astype(np.uint8)
    wanted = tiler.evaluate(mask, labels).scores
    assert tiler.evaluate(written(tmp_path / "a.npy", mask, ["labels"], "labels", ["membrane", "cell"]),
                          labels).scores == wanted
    assert tiler.evaluate(written(tmp_path / "b.npy", 1 - mask, ["labels"], "labels", ["cell", "membrane"]),
                          labels).scores == wanted
    instances = written(tmp_path / "i.npy", mask.astype(np.uint32), ["labels"], "instances")
    with pytest.raises(PlanError, match=r"holds instances.*protocol=.snemi3d"):
        tiler.evaluate(instances, labels)


def test_white_membrane_is_inverted_as_asked(cells, labels, expected):
    assert tiler.evaluate(1 - cells, labels, invert=True).scores == pytest.approx(expected, rel=1e-6)
    assert tiler.evaluate(cells, 255 - labels, invert_labels=True).scores == expected
    mask = (cells > 0.5).astype(np.uint8)
    masks = tiler.evaluate(mask, labels).scores
    assert tiler.evaluate((1 - mask) * 255, labels, invert=True).scores == masks
    assert "`invert`" in tiler.evaluate((1 - mask) * 255, labels, invert=True).table()


def test_integers_are_rescaled_only_when_asked(cells, labels):
    quantised = np.rint(cells * 255).astype(np.uint8)
    raw, scaled = Listening(), Listening()
    as_masks = tiler.evaluate(quantised, labels, listener=raw)
    masks = tiler.evaluate(quantised > 0, labels).scores  # warping flips by distance from the threshold: not compared
    assert {name: as_masks.scores[name] for name in masks if "warping" not in name} == \
        {name: masks[name] for name in masks if "warping" not in name}
    assert len(raw.warnings) == 1
    assert "`rescale` divides by 255" in raw.warnings[0]
    found = tiler.evaluate(quantised, labels, rescale=True, listener=scaled)
    assert found.scores == tiler.evaluate(quantised / np.float32(255), labels).scores != as_masks.scores
    assert scaled.warnings == []
    with pytest.raises(PlanError, match=r"rescale= divides integers.*float32"):
        tiler.evaluate(cells, labels, rescale=True)


def test_rescaling_and_inverting_each_pixel():
    values = np.array([[0, 51, 255]], np.uint8)
    assert Meaning(rescale=True).cells(values).tolist() == [[0, np.float32(0.2), 1]]
    assert Meaning(rescale=True, invert=True).cells(values)[0, [0, 2]].tolist() == [1, 0]
    assert Meaning(invert=True).cells(values).tolist() == [[1, 0, 0]]
    assert Meaning(invert=True).cells(np.array([[0.25]], np.float32)) == np.float32(0.75)
    assert Meaning(cell=51).cells(values).tolist() == [[0, 1, 0]]


def test_parts_of_equal_volumes(cells, labels):
    wanted = tiler.evaluate(cells[1:, 10:90], labels[1:, 10:90]).scores
    for part in ({"slices": "1:3", "roi": "10:90,:"}, {"slices": (1, 3), "roi": "y=10:90"}, {"roi": "1:,10:90,:"},
                 {"slices": slice(1, None), "roi": (slice(10, 90), slice(None))}):
        found = tiler.evaluate(cells, labels, **part)
        assert found.scores == wanted
        assert json.loads(found.to_json())["region"] == [[1, 10, 0], [3, 90, 80]]
    assert tiler.evaluate(cells, labels, slices=1).scores == tiler.evaluate(cells[1], labels[1]).scores


def test_a_part_meets_the_whole(tmp_path, cells, labels):
    wanted = tiler.evaluate(cells[1:], labels[1:]).scores
    assert tiler.evaluate(cells[1:], labels, slices="1:3").scores == wanted
    assert tiler.evaluate(cells, labels[1:], slices="1:").scores == wanted
    placed = written(tmp_path / "p.npy", cells[1:], ["cell"], region=[[1, 0, 0], list(cells.shape)])
    found = tiler.evaluate(placed, labels)
    assert found.scores == wanted
    assert "is the region [1:3, 0:96, 0:80] of the labels, by its metadata" in found.notes[0]
    assert tiler.evaluate(placed, labels, slices=2).scores == tiler.evaluate(cells[2], labels[2]).scores
    with pytest.raises(PlanError, match=r"\[0:2, 0:96, 0:80\] does not lie in it"):
        tiler.evaluate(placed, labels, slices="0:2")


def test_a_mask_counts_for_warping_alone(cells, labels):
    mask = np.zeros(labels.shape, np.uint8)
    mask[:, 20:60, 20:60] = 1
    plain, masked = tiler.evaluate(cells, labels), tiler.evaluate(cells, labels, mask=mask)
    assert masked.official["warping_min_all"] < plain.official["warping_min_all"]
    assert {name: value for name, value in masked.official.items() if "warping" not in name} == \
        {name: value for name, value in plain.official.items() if "warping" not in name}
    assert tiler.evaluate(cells, labels, mask=mask[1:2], slices=1).official == \
        tiler.evaluate(cells[1], labels[1], mask=mask[1]).official


NAN = np.full((1, 8, 8), np.nan, np.float32)
HALF = np.tile(np.repeat([0, 255], 4).astype(np.uint8), (1, 8, 1))


@pytest.mark.parametrize(("proposal", "labels", "options", "message"), [
    (np.zeros((1, 8, 7)), HALF, {}, r"array has shape \(1, 8, 7\) \(z, y, x\), the labels .*\(1, 8, 8\)"),
    (np.zeros((2, 8, 8)), HALF, {}, r"\(2, 8, 8\).*\(1, 8, 8\).*slices="),
    (np.zeros((2, 8, 8)), HALF, {"slices": "5:9"}, r"\(2, 8, 8\).*\(1, 8, 8\).*slices="),
    (NAN, HALF, {}, "slice 0: the proposal holds NaN in 64 of 64 pixels"),
    (np.full((1, 8, 8), 1.5), HALF, {}, "slice 0: .*from 1.5 to 1.5: probabilities from 0 to 1"),
    (np.zeros((1, 8, 8)), HALF * 0, {}, "the labels are all membrane"),
    (np.zeros((1, 8, 8)), HALF * 0 + 1, {}, "the labels are all cell"),
    (np.zeros((3, 1, 8, 8)), HALF, {}, "3 channels .a colour image.* channel="),
    (np.zeros((3, 1, 8, 8)), HALF, {"channel": 3}, "3 channels, 0 to 2; got 3"),
    (np.zeros((1, 8, 8)), np.zeros((3, 1, 8, 8), np.uint8), {}, "labels array have 3 channels .a colour image"),
    (HALF, HALF, {"mask": np.ones((2, 8, 8))}, r"shape \(2, 8, 8\).*mask="),
    (HALF, HALF, {"protocol": "isbi"}, "'isbi' is not one of isbi2012"),
    (HALF, HALF, {"workers": 0}, "0 is not a number of at least 1 .workers="),
    (HALF, HALF, {"slices": "0:0"}, r"region \[0:0, 0:8, 0:8\] is empty"),
    (HALF, HALF, {"slices": "a:b"}, "slices 'a:b' cannot be read"),
    (HALF, HALF, {"slices": "0:1", "roi": "0:1,:,:"}, "both choose slices"),
    (HALF, np.where(HALF, np.nan, 0), {}, "slice 0: the labels hold NaN in 32 of 64 pixels"),
    (HALF, np.where(HALF, np.nan, 0), {"invert_labels": True}, "slice 0: the labels hold NaN in 32 of 64 pixels"),
    (HALF, HALF.view(np.int8), {}, "slice 0: the labels hold -1: cell is above 0"),
    (HALF, HALF, {"mask": NAN}, "slice 0: the mask holds NaN in 64 of 64 pixels"),
    (HALF, HALF, {"ignore_label": -1}, "isbi2012 scores every pixel"),
    (HALF, HALF, {"binary": True}, "binary= belongs to the protocol semantic"),
])
def test_wrong_input_is_one_line(proposal, labels, options, message):
    with pytest.raises(PlanError, match=message) as caught:
        tiler.evaluate(proposal, labels, **options)
    assert "\n" not in str(caught.value)


def test_wrong_files_are_one_line(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        tiler.evaluate(tmp_path / "nothing.tif", HALF)
    with pytest.raises(SourceError, match="is empty"):
        tiler.evaluate(np.zeros((0, 8, 8)), HALF)
    with pytest.raises(SinkError, match=r"no folder that can be written \(report=\)"):
        tiler.evaluate(HALF, HALF, report=tmp_path / "no" / "r.html")


def test_a_run_that_is_stopped_says_so(cells, labels):
    listener = Listening(stop_after=1)
    with pytest.raises(Interrupted, match="after 2 of 3 slices"):
        tiler.evaluate(cells, labels, listener=listener, stop=listener.stop)


def test_a_degenerate_best_is_remarked(cells, labels):
    noise = np.random.default_rng(2).uniform(0.05, 0.85, cells.shape).astype(np.float32)  # above 0.85 all is black
    assert "warping_min_all: reached at threshold 0.9, where nearly all" in tiler.evaluate(noise, labels).table()
    assert "reached" not in tiler.evaluate((cells > 0.5).astype(np.uint8), labels).table()
