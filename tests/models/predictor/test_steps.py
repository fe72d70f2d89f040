"""The steps that a predictor is made of, each alone: frozen, picklable, and right."""

from __future__ import annotations

import dataclasses
import pickle
import re

import numpy as np
import pytest
import torch
from torch import nn

import tiler
from tiler.errors import ModelError, OutputShapeError
from tiler.geometry import Footprint
from tiler.models import PredictorOptions, open_predictor
from tiler.models.loading.processing_steps import Measured
from tiler.models.loading.weights import Normalisation
from tiler.models.predictor.averaging import Turns
from tiler.models.predictor.evaluators import Inexact, WholeTiles
from tiler.models.predictor.heads import Activation
from tiler.models.predictor.rotation import Rotations
from tiler.models.predictor.scaling import Scaling
from tiler.models.predictor.written import Labels, OneClass, Probabilities, Values, written_as

NARROW = Footprint((0, 2, 2), (0, 2, 2), (0, 2, 2), (0, 2, 2), (1, 1, 1))
NAMES = ("membrane", "cell", "vesicle")
CPU = PredictorOptions(device="cpu", threads=1)
GREY = np.random.default_rng(0).integers(0, 255, (20, 24), dtype=np.uint8)
STEPS = [Scaling("weights", Normalisation(255.0, (0.5,), (0.25,))), Turns(NARROW, "d4"), Rotations(NARROW, (9, 12)),
         Activation("softmax"), Probabilities(NAMES, (1,), np.dtype("f4")), Labels(NAMES), OneClass("cell", 1, 3),
         WholeTiles(), Inexact("blend", "norm")]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_a_step_is_a_value(step):
    assert pickle.loads(pickle.dumps(step)) == step
    assert type(step).__dataclass_params__.frozen


def test_scaling_is_that_of_the_weights_until_another_one_is_known():
    grey = torch.tensor([0.0, 255.0]).reshape(1, 1, 1, 2)
    weights = Scaling("weights", Normalisation(255.0, (0.5,), (0.25,)))
    assert weights(grey).flatten().tolist() == [-2.0, 2.0]
    assert weights.expects == ((127.5,), (63.75,))
    assert weights.with_statistics((100.0,), (0.0,), 1)(grey).flatten().tolist() == [-100.0, 155.0]
    waiting = Scaling("volume", None)
    assert (waiting.waits, waiting.identity, waiting.expects) == (True, "volume", None)
    with pytest.raises(ModelError, match="with_statistics"):
        waiting.check()
    assert Scaling("weights", None)(grey) is grey


def test_a_model_that_measures_its_input_waits_for_the_statistics():
    own = Scaling("weights", None, Measured(None, (1.0,)))
    assert own.waits
    assert own.measures == Measured(None, (1.0,))
    assert own.with_statistics((3.0,), (4.0,), 1).values == Normalisation(1.0, (3.0,), (5.0,))
    assert own.done()(torch.ones(1, 1, 2, 2)).tolist() == torch.ones(1, 1, 2, 2).tolist()
    assert Scaling("1,2", Normalisation(1.0, (1.0,), (2.0,)), own.measured).measures is None


def test_orientations_say_what_the_network_sees():
    turns, rotations = Turns(NARROW, "d4"), Rotations(NARROW, (9, 12))
    assert (turns.identity["average"], turns.count, turns.network_size((1, 20, 30))) == ("d4", 8, (1, 20, 30))
    assert (rotations.identity, rotations.count) == ({"average": "rot7"}, 7)
    assert rotations.network_size((3, *rotations.outer)) == (3, *rotations.inner)
    with pytest.raises(OutputShapeError, match="seven rotations"):
        rotations.check((1, 20, 20))
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    assert torch.allclose(turns.mean(lambda each: each[..., 2:-2, 2:-2], x), x[..., 2:-2, 2:-2])


def test_what_is_written():
    values = torch.tensor([0.2, 0.7, 0.6]).reshape(1, 3, 1, 1)
    some, best, one = Probabilities(NAMES, (2, 0), np.dtype("u1")), Labels(NAMES), OneClass("vesicle", 2, 3)
    assert some(values).flatten().tolist() == [153, 51]
    assert (some.classes, some.meaning, some.dtype) == (("vesicle", "membrane"), "probabilities", np.uint8)
    assert best(values).flatten().tolist() == [1]
    assert (best.classes, best.meaning, best.names) == (("labels",), "labels", NAMES)
    assert one(values).flatten().tolist() == [1]
    assert (one.names, one.channels, one.meaning) == (("not vesicle", "vesicle"), 3, "labels")


def test_labels_come_from_classes_that_exclude_each_other_or_from_one():
    assert written_as("labels", Values(NAMES, "softmax"), None, "float32") == Labels(NAMES)
    assert written_as("labels", Values(NAMES, "sigmoid"), "cell", "float32") == OneClass("cell", 1, 3)
    assert written_as("labels", Values(("cell",), "sigmoid"), None, "float32") == OneClass("cell", 0, 1)
    with pytest.raises(ModelError, match=r"exclude each other.*classes=, one of membrane, cell, vesicle.*kind="):
        written_as("labels", Values(NAMES, None, "sigmoid"), None, "float32")
    with pytest.raises(ModelError, match="all classes, or of one"):
        written_as("instances", Values(NAMES, "softmax"), "cell,vesicle", "float32")


class Three(nn.Module):
    """Three classes, each with a sigmoid of its own inside the network or outside it."""

    def __init__(self, inside=None):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.inside = nn.Conv2d(1, 3, 3, padding=1), inside

    def forward(self, x):
        x = self.conv(x / 255)
        return self.inside(x) if self.inside else x


@pytest.mark.parametrize("kind", ["labels", "instances"])
@pytest.mark.parametrize(("inside", "head"), [(None, "sigmoid"), (nn.Sigmoid(), None), (nn.Sigmoid(), "none")])
def test_classes_that_do_not_exclude_each_other_make_no_labels(inside, head, kind):
    given = {"head": head, "device": "cpu", "threads": 1}
    with pytest.raises(ModelError, match="exclude each other"):
        tiler.plan(GREY, Three(inside), kind=kind, **given)
    scores = np.asarray(tiler.segment(GREY, Three(inside), classes="all", **given))
    found = np.asarray(tiler.segment(GREY, Three(inside), kind=kind, classes="class 1", **given))
    np.testing.assert_array_equal(found > 0, scores[1] > 0.5)


@pytest.mark.parametrize(("inside", "head", "words"), [
    (nn.Softmax(1), "sigmoid", "ends in a soft-max already.*head=none"),
    (nn.Sigmoid(), "softmax", "ends in a sigmoid already.*head=none"),
    (nn.Softmax(1), "none", None), (None, "sigmoid", None)])
def test_a_head_on_top_of_another_is_said(inside, head, words, caplog):
    open_predictor(Three(inside), options=dataclasses.replace(CPU, head=head))
    assert bool(caplog.records) == (words is not None)
    if words:
        assert caplog.records[0].levelname == "WARNING"
        assert re.search(words, caplog.text)


def test_a_head_that_the_network_was_not_trained_for_is_said(caplog):
    open_predictor("unet", options=dataclasses.replace(CPU, head="sigmoid"))
    assert "unet was made for a soft-max, and `head=sigmoid` gives other values" in caplog.text


def test_a_network_that_ends_in_a_sigmoid_gives_probabilities():
    predictor = open_predictor(Three(nn.Sigmoid()), options=dataclasses.replace(CPU, dtype="uint8"))
    assert predictor.head.name == "none"
    with pytest.raises(ModelError, match="not known whether"):
        open_predictor(Three(), options=dataclasses.replace(CPU, dtype="uint8"))


def test_an_object_that_is_no_predictor_is_told_what_it_lacks():
    class Almost:
        footprint = NARROW
        border, in_channels, classes, dtype, identity, expects = "mirror", 1, ("cell",), np.dtype("f4"), {}, None

        def cost(self, tile, batch): ...
        def __call__(self, batch): ...

    with pytest.raises(ModelError, match=r"Almost is no predictor: it lacks capabilities and with_statistics"):
        tiler.segment(GREY, Almost())
    with pytest.raises(ModelError, match="int is neither"):
        tiler.segment(GREY, 3)
