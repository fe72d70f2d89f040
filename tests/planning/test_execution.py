"""Tiles or stages: the cheaper way is taken, values do not depend on it, and the plan says why."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

import tiler
from tiler.errors import MemoryBudgetError, ModelError, PlanError
from tiler.models import PredictorOptions, open_predictor
from tiler.models.aten.random_weights import random_copy
from tiler.planning.execution import chosen
from tiler.planning.plan import Settings
from tiler.sources import open_source
from tiler.testing.predictors import PoolingAxis, PoolingNet

WIDE = {"device": "cpu", "threads": 1, "executor": "serial", "precision": "float64", "dtype": "float64", "head": "none",
        "classes": "all"}
IMAGE = np.random.default_rng(0).integers(0, 255, (61, 83), dtype=np.uint8)


class Strided(nn.Module):
    """Takes every size, since it resizes to it; its tiles are in phase at multiples of 4."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, stride=4)
        self.last = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x):
        fine = self.fine(x).relu()
        coarse = nn.functional.interpolate(self.coarse(fine).relu(), x.shape[2:], mode="bilinear")
        return self.last(torch.cat([fine, coarse], 1))


NETWORK = random_copy(Strided(), 0).float()


def plain(image):
    with torch.no_grad():
        return copy.deepcopy(NETWORK).double()(torch.from_numpy(image).double()[None, None])[0].numpy()


@pytest.mark.parametrize("size", [(60, 80), (61, 83), (60, 83)])
def test_the_result_is_that_of_the_image_itself_in_either_way(size):
    image = IMAGE[: size[0], : size[1]]
    expected, found = plain(image), {}
    for execution in ("auto", "stages", "tiles"):
        if execution == "tiles" and size != (60, 80):
            with pytest.raises(PlanError, match=r"takes an input of 1x6\dx83 as it is.*border=.mirror"):
                tiler.plan(image, NETWORK, execution=execution, **WIDE)
            with pytest.raises(PlanError, match="as it is"):
                tiler.plan(image, NETWORK, tile=40, **WIDE)
            continue
        plan = tiler.plan(image, NETWORK, execution=execution, **WIDE)
        found[plan.execution] = tiler.segment(image, NETWORK, execution=execution, **WIDE)
        assert plan.why
    assert set(found) == ({"tiles", "stages"} if size == (60, 80) else {"stages"})
    for values in found.values():
        assert np.abs(values.reshape(expected.shape) - expected).max() <= 1e-12 * np.ptp(expected)


def test_a_backend_that_has_no_stages_is_refused_where_tiles_are_not_the_image_itself():
    pytest.importorskip("openvino")
    options = {"backend": "openvino", "device": "cpu", "threads": 1}
    with pytest.raises(ModelError, match=r"in stages, which backend=.openvino. cannot do"):
        tiler.plan(IMAGE, NETWORK, **options)
    assert tiler.plan(IMAGE[:60, :80], NETWORK, **options).execution == "tiles"


def test_with_a_mirrored_border_any_size_is_tiled():
    assert tiler.plan(IMAGE, NETWORK, border="mirror", **WIDE).execution == "tiles"


def test_the_plan_says_how_and_why():
    text = str(tiler.plan(IMAGE, NETWORK, **WIDE))
    assert "stages, exactly as the whole input in one pass" in text
    assert "times the work of a plain pass" in text
    assert "the network takes an input of 1x61x83 as it is" in text
    assert "in tiles: as you chose" in str(tiler.plan(IMAGE[:60, :80], NETWORK, tile=40, **WIDE))


def test_a_run_that_was_chosen_is_resumed_and_checked_as_it_was(tmp_path):
    np.save(tmp_path / "in.npy", IMAGE)
    options = {**WIDE, "precision": "float32", "dtype": "float32"}
    tiler.segment(tmp_path / "in.npy", NETWORK, tmp_path / "out.zarr", **options)
    tiler.segment(tmp_path / "in.npy", NETWORK, tmp_path / "out.zarr", resume=True, **options)
    assert tiler.check(tmp_path / "out.zarr", model=NETWORK).sound


def test_a_predictor_that_could_run_in_stages_is_pickled():
    predictor = open_predictor(NETWORK, options=PredictorOptions(device="cpu", threads=1, head="none"))
    assert predictor.capabilities.in_stages is not None
    again = pickle.loads(pickle.dumps(predictor))
    assert again.capabilities.in_stages.takes((1, 61, 83))


@dataclass(frozen=True)
class Both(PoolingNet):
    """Tiles with much context, and stages that do a share of their work."""

    share: float = 0.5
    refused: bool = False
    staged: bool = False
    greedy: bool = False

    @property
    def capabilities(self):
        if self.staged:
            return replace(super().capabilities, execution="stages", untiled="stages")
        return replace(super().capabilities, in_stages=self)

    @property
    def border(self):
        return "zero"

    def takes(self, shape):
        return False

    def predictor(self):
        if self.refused:
            raise ModelError("its stages differ")
        return replace(self, staged=True)

    def cost(self, tile, batch):
        found, voxels = super().cost(tile, batch), tile[1] * tile[2]
        if self.staged:
            return replace(found, flops=self.share * 1e9, bytes=10**6)
        return replace(found, bytes=10**15 if self.greedy or voxels > 290**2 else 10**6)


AXES = (None, PoolingAxis(40, 40, 0, 1), PoolingAxis(40, 40, 0, 1))


@pytest.mark.parametrize(("options", "execution", "why"), [
    ({"share": 1e-9}, "stages", "of their operations on context; stages take about 0.0 times as long"),
    ({"share": 1e9}, "tiles", "of their operations on context"),
    ({"share": 1e9, "greedy": True}, "stages", "no tile fits into memory"),
    ({"share": 1e-9, "refused": True}, "tiles", "in stages, its stages differ")])
def test_the_cheaper_way_that_fits_is_taken(options, execution, why):
    source = open_source(np.zeros((1, 300, 310), np.uint8))
    settings = Settings(tile=None, memory=2 * 10**9)
    found, said = chosen(settings, source, Both(AXES, "same", **options), "auto")
    assert found.capabilities.execution == execution
    assert why in said
    with pytest.raises(MemoryBudgetError):
        chosen(settings, source, Both(AXES, "same", greedy=True, refused=True), "auto")


def test_what_cannot_run_as_wanted_is_refused():
    source = open_source(np.zeros((1, 300, 310), np.uint8))
    with pytest.raises(PlanError, match="no exact tiles"):
        chosen(Settings(), source, Both(AXES, "same", staged=True), "tiles")
    with pytest.raises(PlanError, match="cannot be run in stages"):
        chosen(Settings(), source, PoolingNet(AXES), "stages")
