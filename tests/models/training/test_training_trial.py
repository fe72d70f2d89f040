"""What is looked at and tried out before the first step."""

import imagecodecs
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tiler.errors import PlanError, SinkError
from tiler.models.training import SilentTraining, train
from tiler.models.training.preview import RIM, ROWS

Y, X = np.mgrid[:48, :40]
LABELS = ((Y // 9 + X // 7) % 2 * 200).astype(np.uint8)[None]
IMAGES = (LABELS // 2 + np.random.default_rng(0).integers(0, 90, LABELS.shape)).astype(np.uint8)
SMALL = {"base": 4, "depth": 1, "threads": 1, "steps": 1, "seed": 3}
CHANGES = {"tile": 40, "batch": 2, "warm_up": 2, "precision": "float32", "learning_rate": 1e-2}


class Heard(SilentTraining):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


def test_the_preview_shows_image_labels_and_weights_where_the_output_lies(tmp_path):
    changes = {**CHANGES, "weights.border": "2019"}
    train(IMAGES, LABELS, tmp_path / "w.safetensors", preview=tmp_path / "p.png", changes=changes, **SMALL)
    sheet = imagecodecs.png_decode((tmp_path / "p.png").read_bytes())
    assert sheet.shape == (ROWS * (40 + RIM), 3 * (40 + RIM), 3)
    image, labelled, weights = (sheet[:40, at * (40 + RIM):][:, :40].astype(int) for at in range(3))
    grey = (image == image[..., :1]).all(-1)
    assert grey.all()
    inside = np.zeros((40, 40), bool)
    inside[8:-8, 8:-8] = True  # what a valid U-Net of depth 1 leaves of its tile
    assert ((labelled != image).any(-1) == inside).mean() > 0.99
    assert (weights[~inside] == 0).all()
    assert weights[inside].std() > 10


def test_the_preview_shows_the_middle_of_volumes(tmp_path):
    changes = {**CHANGES, "planes": 16, "tile": 16}
    train(np.repeat(IMAGES, 4, 0), np.repeat(LABELS, 4, 0), tmp_path / "w.safetensors", preview=tmp_path / "p.png",
          changes=changes, arguments={"ndim": 3, "padding": "same"}, **{**SMALL, "base": 1})
    assert imagecodecs.png_decode((tmp_path / "p.png").read_bytes()).shape[1] == 3 * (16 + RIM)


def test_a_preview_that_cannot_be_written_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(SinkError, match="cannot write the preview"):
        train(IMAGES, LABELS, tmp_path / "w.safetensors", preview=tmp_path / "no" / "p.png", changes=CHANGES, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_one_tile_is_learnt_by_heart_without_a_trace_in_the_run(tmp_path):
    plain = train(IMAGES, LABELS, tmp_path / "a.safetensors", changes=CHANGES, **SMALL)
    heard = Heard()
    tried = train(IMAGES, LABELS, tmp_path / "b.safetensors", sanity=True, listener=heard, changes=CHANGES, **SMALL)
    one, other = load_file(plain.weights), load_file(tried.weights)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert ["the network can learn" in note for note in heard.notes] == [True]


def test_a_network_that_learns_nothing_is_refused(tmp_path):
    with pytest.raises(PlanError, match="does not learn even these by heart"):
        train(IMAGES, LABELS, tmp_path / "w.safetensors", sanity=True, changes={**CHANGES, "learning_rate": 1e-12},
              **SMALL)
    assert not (tmp_path / "w.training" / "checkpoint.safetensors").exists()
