"""The 60 public reference cases: every value of Fiji's evaluator, and nothing else, comes out."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from isbi_oracle import evaluate_full

from tiler.metrics import isbi2012, isbi2012_result

OWN = Path(__file__).parent / "isbi_cases"
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "isbi_metrics"
FILE_FACTS = ("labels_type", "proposal_type", "labels_sha256_f32le", "proposal_sha256_f32le")
COUNTS = ("tp", "fp", "tn", "fn")


def cases() -> Iterator[Any]:
    index = json.loads((OWN / "cases.json").read_text())["cases"]
    yield from (pytest.param(OWN, case, id=case["name"]) for case in index)
    if not (SHARED / "cases.json").exists():
        skipped = pytest.mark.skip(reason="the ten cases made of challenge data are not beside the repository")
        yield pytest.param(SHARED, {}, id="isbi_data", marks=skipped)
        return
    index = json.loads((SHARED / "cases.json").read_text())["cases"]
    yield from (pytest.param(SHARED, case, id=case["name"]) for case in index if case["contains_isbi_data"])


CASES = list(cases())


def volume(folder: Path, case: dict[str, Any], kind: str) -> np.ndarray | None:
    if kind not in case["files"]:
        return None
    pixels = tifffile.imread(folder / case["files"][kind]).reshape(case["shape_zyx"])
    assert hashlib.sha256(pixels.astype("<f4").tobytes()).hexdigest() == case["pixels_sha256_as_float32_le"][kind]
    return pixels


def golden(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    stored = (folder / case["files"]["golden"]).read_bytes()
    return json.loads(gzip.decompress(stored) if case["files"]["golden"].endswith(".gz") else stored)


def differences(ours: Any, theirs: Any, pairs: float, path: tuple[Any, ...] = ()) -> Iterator[str]:
    """Where two trees of JSON differ by more than the reference allows."""
    if isinstance(theirs, dict):
        noise = "h_gt" in theirs and any(theirs[h] is None or abs(theirs[h]) < 1e-9 for h in ("h_gt", "h_seg"))
        wanted = {key for key in theirs if not (noise and key in ("precision", "recall"))
                  and not key.startswith("rand_classic_") and key not in FILE_FACTS}
        yield from (f"{path}: no {key}" for key in wanted - ours.keys())
        yield from (f"{path}: {key} is too much" for key in ours.keys() - theirs.keys())
        for key in wanted & ours.keys():
            yield from differences(ours[key], theirs[key], pairs, (*path, key))
    elif isinstance(theirs, list):
        if len(ours) != len(theirs):
            yield f"{path}: {len(ours)} entries instead of {len(theirs)}"
        for index, both in enumerate(zip(ours, theirs, strict=False)):
            yield from differences(*both, pairs, (*path, index))
    elif not isinstance(theirs, float) or ours is None:
        if ours != theirs:
            yield f"{path}: {ours} instead of {theirs}"
    elif abs(ours - theirs) > tolerance(ours, theirs, pairs, path):
        yield f"{path}: {ours} instead of {theirs}"


def tolerance(ours: float, theirs: float, pairs: float, path: tuple[Any, ...]) -> float:
    if path[0] == "official":
        return 1e-9 * abs(theirs) + 1e-12
    return 1e-9 * max(abs(ours), abs(theirs)) + (pairs * 1e-13 if path[-1] in COUNTS else 1e-9)


@pytest.mark.parametrize(("folder", "case"), CASES)
def test_every_value_is_the_evaluators(folder: Path, case: dict[str, Any]) -> None:
    proposal, labels, mask = (volume(folder, case, kind) for kind in ("proposal", "labels", "mask"))
    expected = golden(folder, case)
    assert expected["official"] == case["official"]
    ours = evaluate_full(proposal, labels, mask)
    slices, height, width = case["shape_zyx"]
    assert list(differences(ours, expected, slices * (height * width) ** 2)) == []


@pytest.mark.parametrize(("folder", "case"), CASES)
def test_scores_do_not_depend_on_memory_order_or_float_type(folder: Path, case: dict[str, Any]) -> None:
    proposal, labels = volume(folder, case, "proposal"), volume(folder, case, "labels")
    if labels[0].size > 100 * 100:
        proposal, labels = proposal[:, :100, :100], labels[:, :100, :100]
    plain, turned = isbi2012_result.Isbi2012(), isbi2012_result.Isbi2012()
    for cut, truth in zip(proposal, labels, strict=True):
        plain.add(cut, truth)
        turned.add(np.asfortranarray(cut.astype(np.float32)) if cut.dtype.kind == "f" else np.asfortranarray(cut),
                   np.asfortranarray(truth).astype(np.float64))
    assert plain.result().to_json() == turned.result().to_json()


def test_the_comparison_finds_what_differs() -> None:
    theirs = {"official": {"a": 0.5}, "rand": [{"tp": 7.0, "f": None}]}
    assert not list(differences(theirs, theirs, 100.0))
    for ours in ({"official": {"a": 0.5 + 1e-8}, "rand": [{"tp": 7.0, "f": None}]},
                 {"official": {"a": 0.5}, "rand": [{"tp": 7.1, "f": None}]},
                 {"official": {"a": 0.5}, "rand": [{"tp": 7.0, "f": 0.0}]},
                 {"official": {"a": 0.5}, "rand": []}):
        assert list(differences(ours, theirs, 100.0))


def test_thresholds_are_added_up_in_float64() -> None:
    index = json.loads((OWN / "cases.json").read_text())
    assert list(isbi2012.THRESHOLDS) == index["thresholds"]
    assert list(isbi2012.WARPING_THRESHOLDS) == index["warping_thresholds"]
