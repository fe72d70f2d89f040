"""What is found out about a network is remembered, for its architecture and for nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from networks import Hourglass, SqueezeExcite
from torch import nn

import tiler
from tiler.models.aten.graph import NotStagedError
from tiler.models.aten.random_weights import random_copy
from tiler.models.loading.open_model import load_model
from tiler.models.predictor import survey
from tiler.models.predictor.survey import Survey

IMAGE = np.zeros((24, 26), np.uint8)


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """Names of what was found out, in an empty cache folder."""
    found = []

    def counting(name):
        real = getattr(survey, name)
        monkeypatch.setattr(survey, name, lambda *args, **options: found.append(name) or real(*args, **options))

    for name in ("probe", "check_stages", "prove", "check_tiles"):
        counting(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(survey, "_latest", {})
    return found


def forgotten():
    """As in another process."""
    survey._latest.clear()


def test_other_weights_need_no_other_look_and_other_layers_do(counted):
    for seed in (1, 2):
        tiler.plan(IMAGE, random_copy(Hourglass(SqueezeExcite()), seed).float(), device="cpu")
        forgotten()
    assert counted == ["probe", "check_stages"]
    tiler.plan(IMAGE, nn.Sequential(Hourglass(SqueezeExcite()), nn.Conv2d(2, 2, 1)), device="cpu")
    assert counted == ["probe", "check_stages"] * 2


def test_another_version_looks_again(counted, monkeypatch):
    network = random_copy(Hourglass(SqueezeExcite()), 0).float()
    for version in ("1", "1", "2"):
        monkeypatch.setattr(survey, "__version__", version)
        assert Survey(load_model(network)).staging().statistics == 2
        forgotten()
    assert counted == ["check_stages"] * 2


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_file_is_made_anew(counted, tmp_path, content):
    network = random_copy(Hourglass(), 0).float()
    first = Survey(load_model(network)).proved
    (path,) = (tmp_path / "tiler" / "networks").iterdir()
    path.write_text(content)
    forgotten()
    again = Survey(load_model(network)).proved
    assert first == again
    assert again.proved
    assert counted == ["probe", "check_tiles", "check_stages"] * 2


def test_what_was_refused_is_refused_again_for_the_same_reason(counted):
    said = []
    for _ in range(2):
        with pytest.raises(NotStagedError) as refused:
            Survey(load_model(nn.Conv2d(1, 1, 3))).staging()
        said.append(str(refused.value))
        forgotten()
    assert said[0] == said[1]
    assert counted == ["check_stages"]


def test_networks_that_drop_voxels_are_proved_by_experiments(counted):
    report = Survey(load_model(nn.Conv2d(1, 1, 3))).proved
    assert report.proved
    assert [part.name for part in report.proof] == ["context", "control", "agreement"]
