"""Cross-validation: every slice is held out once, and finished folds are kept."""

import csv
import json

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from tiler.cli.train import train as command
from tiler.errors import PlanError
from tiler.models import read_card
from tiler.models.training import cross_validate
from tiler.models.training import run as loop
from tiler.models.training.cross_validation import ranges_of

Z, Y, X = np.mgrid[:4, :40, :32]
LABELS = ((Y // 9 + X // 7) % 2 * 200).astype(np.uint8)
IMAGES = (LABELS // 2 + np.random.default_rng(0).integers(0, 90, LABELS.shape)).astype(np.uint8)
SMALL = {"base": 1, "depth": 1, "threads": 1, "steps": 1, "seed": 1,
         "changes": {"tile": 40, "batch": 1, "precision": "float32"}}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(loop, "write_svg", lambda rows, path: None)


def test_folds_are_neighbours_and_hold_every_slice_once():
    assert ranges_of(7, 3) == [(0, 2), (2, 4), (4, 7)]
    assert ranges_of(3, 3) == [(0, 1), (1, 2), (2, 3)]
    for wrong in (1, 4):
        with pytest.raises(PlanError, match=rf"3 slices cannot be held out in {wrong} folds: give 2 to 3"):
            ranges_of(3, wrong)


def test_every_fold_is_trained_without_its_slices_and_scored_on_them(tmp_path):
    found = cross_validate([IMAGES[:1], IMAGES[1:]], [LABELS[:1], LABELS[1:]], tmp_path / "w.safetensors", 2, **SMALL)
    assert [fold.held_out for fold in found.folds] == [(0, 2), (2, 4)]
    assert [read_card(fold.result.weights).provenance["validate"] for fold in found.folds] == [[0, 2], [2, 4]]
    assert not (tmp_path / "w.safetensors").exists()
    scores = [fold.result.best["pixel_error"] for fold in found.folds]
    assert found.summary["pixel_error"] == pytest.approx((np.mean(scores), np.std(scores, ddof=1)))
    with found.table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["1", "2", "mean", "standard deviation"]
    assert float(rows[2]["pixel_error"]) == pytest.approx(np.mean(scores))
    before = found.folds[0].result.weights.stat().st_mtime_ns
    found.folds[1].result.weights.with_name("w.fold2.training").joinpath("checkpoint.safetensors").unlink()
    found.folds[1].result.weights.unlink()
    again = cross_validate([IMAGES[:1], IMAGES[1:]], [LABELS[:1], LABELS[1:]], tmp_path / "w.safetensors", 2,
                           resume=True, **SMALL)
    assert again.folds[0].result.best == found.folds[0].result.best
    assert again.folds[0].result.weights.stat().st_mtime_ns >= before


def test_slices_to_validate_on_cannot_be_given_too(tmp_path):
    with pytest.raises(PlanError, match="leave out validate="):
        cross_validate(IMAGES, LABELS, tmp_path / "w.safetensors", 2, validate="0:1", **SMALL)


def test_the_command_prints_the_scores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("images.tif", IMAGES, photometric="minisblack")
    tifffile.imwrite("labels.tif", LABELS, photometric="minisblack")
    arguments = ["images.tif", "labels.tif", "-o", "w.safetensors", "--cross-validate", "2", "--base", "1", "--depth",
                 "1", "--threads", "1", "--steps", "1", "--tile", "40", "--batch", "1", "--json", "--quiet"]
    result = CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False)
    found = json.loads(result.stdout)
    assert found["table"] == "w.folds.csv"
    assert [fold["held_out"] for fold in found["folds"]] == [[0, 2], [2, 4]]
    assert set(found["summary"]) == set(found["folds"][0]) - {"held_out", "weights", "step"}
