"""Whole runs: they learn, they go on bit for bit, and they refuse what cannot be."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
import torch
from filelock import FileLock
from safetensors.torch import load_file

import tiler
from tiler.errors import GeometryError, Interrupted, JournalError, ModelError, PlanChangedError, PlanError, SinkError
from tiler.models.loading.weights import read_card
from tiler.models.training import SilentTraining, train
from tiler.models.training import api as door
from tiler.models.training.options import TrainingOptions, parse_slices, parse_time

SAMPLE = Path(__file__).parents[3] / "data_samples"
IMAGES, LABELS = (tifffile.imread(SAMPLE / name)[:4, :128, :128] for name in ("sstem.tif", "sstem_labels.tif"))
SMALL = {"base": 4, "depth": 1, "threads": 1, "steps": 6, "seed": 3,
         "changes": {"tile": 60, "batch": 2, "warm_up": 2, "dropout": 0.3, "precision": "float32"}}


class Heard(SilentTraining):
    """Records all messages and runs an action at one step."""

    def __init__(self, at=0, action=lambda: None):
        self.at, self.action = at, action
        self.losses, self.scores, self.warnings, self.begun = [], [], [], None

    def started(self, total, done):
        self.begun = (total, done)

    def stepped(self, step, loss):
        self.losses.append(loss)
        if step == self.at:
            self.action()

    def validated(self, step, scores, best):
        self.scores.append((step, scores, best))

    def warn(self, message):
        self.warnings.append(message)


def equal(one, other):
    one, other = load_file(one), load_file(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "w.safetensors"
    train(IMAGES, LABELS, path, validate="3:4", validate_every=3, **SMALL)
    return path


def test_the_same_seed_gives_the_same_weights_and_another_does_not(undisturbed, tmp_path):
    train(IMAGES, LABELS, tmp_path / "w.safetensors", validate="3:4", validate_every=3, **SMALL)
    assert equal(tmp_path / "w.safetensors", undisturbed)
    train(IMAGES, LABELS, tmp_path / "x.safetensors", validate="3:4", **{**SMALL, "seed": 4})
    assert not equal(tmp_path / "x.safetensors", undisturbed)


KILLED = """
import json, os, signal, sys
sys.path[:0] = [json.loads(sys.argv[1])]
from test_training_run import IMAGES, LABELS, SMALL, Heard
from tiler.models.training import train

listener = Heard(at=4, action=lambda: os.kill(os.getpid(), signal.SIGKILL))
train(IMAGES, LABELS, sys.argv[2], validate="3:4", validate_every=3, listener=listener, checkpoint_seconds=0, **SMALL)
"""


def test_a_run_killed_in_a_step_goes_on_to_the_same_weights(undisturbed, tmp_path):
    path = tmp_path / "w.safetensors"
    arguments = [json.dumps(str(Path(__file__).parent)), str(path)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"},
                            check=False, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not path.exists()
    listener = Heard()
    train(IMAGES, LABELS, path, resume=True, listener=listener)
    assert listener.begun == (6, 3)
    assert equal(path, undisturbed)
    assert equal(path.with_name("w.training") / "checkpoint.safetensors",
                 undisturbed.with_name("w.training") / "checkpoint.safetensors")


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(recipe, tmp_path):
    small = {**SMALL, "recipe": recipe}
    train(IMAGES, LABELS, tmp_path / "a.safetensors", **small)
    stop, path = threading.Event(), tmp_path / "b.safetensors"
    with pytest.raises(Interrupted, match="after 2 of 6 steps"):
        train(IMAGES, LABELS, path, stop=stop, listener=Heard(2, stop.set), **small)
    train(IMAGES, LABELS, path, resume=True)
    assert equal(path, tmp_path / "a.safetensors")


def test_a_small_network_visibly_learns(tmp_path):
    """Within 60 steps of eight tiles: V_Rand rises by 0.3 and the pixel error falls by a fifth, at least."""
    images, labels = (tifffile.imread(SAMPLE / name)[:, :256, :256] for name in ("sstem.tif", "sstem_labels.tif"))
    listener, path = Heard(), tmp_path / "w.safetensors"
    changes = {"tile": 140, "batch": 4, "warm_up": 5, "learning_rate": 5e-3, "average": 0.9, "precision": "float32"}
    result = train(images, labels, path, base=8, depth=2, steps=60, validate="7:8", validate_every=60, threads=1,
                   changes=changes, listener=listener, classes=("membrane", "cell"))
    untrained = tmp_path / "u.safetensors"
    train(images, labels, untrained, base=8, depth=2, steps=1, threads=1, listener=(start := Heard()),
          validate="7:8", changes={**changes, "learning_rate": 1e-9})
    before, after = start.scores[0][1], result.best
    assert after["v_rand_thinned"] > before["v_rand_thinned"] + 0.3
    assert after["pixel_error"] < 0.8 * before["pixel_error"]
    assert np.mean(listener.losses[-10:]) < 0.6 * listener.losses[0]


def test_the_result_can_be_used_and_says_how_it_was_made(undisturbed):
    card = read_card(undisturbed)
    assert card.architecture == "unet"
    assert card.arguments["batch_norm"] is True
    assert "3 annotated slices, validated on slices 3 to 3; recipe default, loss cross-entropy, 6 steps" in (
        card.training_data)
    found = tiler.segment(IMAGES[:1, :50, :50], "unet", weights=undisturbed, threads=1)
    assert found.shape == (1, 50, 50)
    assert 0 <= found.min() <= found.max() <= 1


def test_learning_curves_stand_beside_the_weights(undisturbed):
    with undisturbed.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "6"]
    assert all(float(row["loss"]) > 0 and 0 <= float(row["v_rand_thinned"]) <= 1 for row in rows)


def test_a_picture_of_the_learning_curves_stands_beside_them(undisturbed):
    picture = ElementTree.parse(undisturbed.with_suffix(".svg"))
    drawn = " ".join(picture.getroot().itertext())
    assert "training loss:" in drawn
    assert "1 - v_rand_thinned:" in drawn


def test_several_stacks_are_one_training_set(tmp_path):
    twice = train([IMAGES[:2], IMAGES[2:, :100]], [LABELS[:2], LABELS[2:, :100]], tmp_path / "w.safetensors",
                  **{**SMALL, "steps": 1})
    assert "4 annotated slices" in read_card(twice.weights).training_data


def test_time_becomes_steps_which_are_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(door, "steps_in", lambda seconds, run: int(seconds))
    small = {name: value for name, value in SMALL.items() if name != "steps"}
    result = train(IMAGES, LABELS, tmp_path / "w.safetensors", time="3s", **small)
    assert result.steps == 3
    assert read_card(result.weights).provenance["steps"] == 3


def test_time_is_measured_without_a_trace_in_the_run(tmp_path):
    small = {name: value for name, value in SMALL.items() if name != "steps"}
    result = train(IMAGES, LABELS, tmp_path / "w.safetensors", time=0.2, **small)
    train(IMAGES, LABELS, tmp_path / "x.safetensors", steps=result.steps, **small)
    assert equal(result.weights, tmp_path / "x.safetensors")


def test_a_run_can_be_made_longer_while_its_rate_is_steady(tmp_path):
    small = {**SMALL, "changes": {**SMALL["changes"], "decay": 0.5}}
    path, stop = tmp_path / "w.safetensors", threading.Event()
    with pytest.raises(Interrupted):
        train(IMAGES, LABELS, path, stop=stop, listener=Heard(3, stop.set), **small)
    with pytest.raises(PlanError, match="give more steps"):
        train(IMAGES, LABELS, path, resume=True, steps=4)
    assert train(IMAGES, LABELS, path, resume=True, steps=8).steps == 8
    train(IMAGES, LABELS, tmp_path / "x.safetensors", **{**small, "steps": 8})
    assert equal(path, tmp_path / "x.safetensors")
    with pytest.raises(PlanError, match="falls since step 4"):
        train(IMAGES, LABELS, path, resume=True, steps=20)


def test_a_run_goes_on_with_nothing_else_changed(undisturbed):
    with pytest.raises(PlanChangedError, match="data was"):
        train(IMAGES, 255 - LABELS, undisturbed, resume=True)
    with pytest.raises(PlanChangedError, match="seed was 3, is now 5"):
        train(IMAGES, LABELS, undisturbed, resume=True, seed=5)


def test_training_begins_with_given_weights(undisturbed, tmp_path):
    changes = {**SMALL["changes"], "learning_rate": 1e-12}
    result = train(IMAGES, LABELS, tmp_path / "w.safetensors", init=undisturbed, **{**SMALL, "steps": 1,
                   "changes": changes})
    ours, theirs = load_file(result.weights), load_file(undisturbed)
    assert torch.allclose(ours["head.weight"], theirs["head.weight"], atol=1e-6)
    assert read_card(result.weights).normalisation == read_card(undisturbed).normalisation


def test_a_loss_that_is_no_number_ends_the_run_in_one_line(tmp_path):
    changes = {**SMALL["changes"], "learning_rate": 1e30, "clip": 0.0, "warm_up": 0}
    with pytest.raises(ModelError, match="loss became"):
        train(IMAGES, LABELS, tmp_path / "w.safetensors", **{**SMALL, "recipe": "paper", "changes": changes})


@pytest.mark.parametrize(("options", "error", "says"), [
    ({"validate": "3:9"}, PlanError, r"3:9 are no range within the 4 slices"),
    ({"validate": "0:4"}, PlanError, "all that there are"),
    ({"validate": "abc"}, PlanError, "validate="),
    ({"changes": {"tile": 61}}, GeometryError, "nearest legal tiles are 60 and 62"),
    ({"changes": {"augmentation.elastics": 1}}, PlanError, "has no field elastics"),
    ({"changes": {"nothing.elastic": 1}}, PlanError, "no field nothing.elastic"),
    ({"model": "vnet"}, ModelError, "unknown model 'vnet'"),
    ({"recipe": "modern"}, PlanError, "known are default, paper"),
    ({"time": "1h"}, PlanError, "either in steps or as time"),
    ({"steps": 0}, PlanError, "steps is at least 1"),
    ({"dtype": "int8"}, PlanError, "float32 or float16"),
    ({"seed": -1}, PlanError, "seed="),
])
def test_wrong_options_are_refused_before_anything_is_written(options, error, says, tmp_path):
    with pytest.raises(error, match=says) as caught:
        train(IMAGES, LABELS, tmp_path / "w.safetensors", **{**SMALL, **options})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_be_are_refused(undisturbed, tmp_path):
    with pytest.raises(PlanError, match="already exists"):
        train(IMAGES, LABELS, undisturbed, **SMALL)
    with pytest.raises(PlanError, match="leave out resume="):
        train(IMAGES, LABELS, tmp_path / "w.safetensors", resume=True)
    with pytest.raises(PlanError, match=r"NAME\.safetensors"):
        train(IMAGES, LABELS, tmp_path / "w.pt", **SMALL)
    with pytest.raises(SinkError, match="no folder"):
        train(IMAGES, LABELS, tmp_path / "none" / "w.safetensors", **SMALL)
    with pytest.raises(PlanError, match="as many label files"):
        train([IMAGES], [LABELS, LABELS], tmp_path / "w.safetensors", **SMALL)


def test_two_processes_do_not_train_into_one_folder(tmp_path):
    (tmp_path / "w.training").mkdir()
    with FileLock(tmp_path / "w.training" / "lock"), pytest.raises(JournalError, match="another process"):
        train(IMAGES, LABELS, tmp_path / "w.safetensors", **SMALL)


def test_too_little_room_is_said_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(door.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**4))
    with pytest.raises(SinkError, match="make room"):
        train(IMAGES, LABELS, tmp_path / "w.safetensors", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_texts_of_time_and_slices():
    assert [parse_time(text) for text in ("2h", "1h30m", "90min", "45s", 7)] == [7200, 5400, 5400, 45, 7]
    assert parse_slices("20:25") == parse_slices(slice(20, 25)) == parse_slices((20, 25)) == (20, 25)
    for wrong in ("2 hours", "h", "", "-1h", 0):
        with pytest.raises(PlanError, match="time="):
            parse_time(wrong)


def test_half_precision_halves_the_file(tmp_path, undisturbed):
    result = train(IMAGES, LABELS, tmp_path / "w.safetensors", dtype="float16", **{**SMALL, "steps": 1})
    assert load_file(result.weights)["head.weight"].dtype == torch.float16
    assert TrainingOptions().dtype == "float32"
