import numpy as np
import pytest
import torch

from tiler.errors import ModelError
from tiler.models.predictor.heads import choose, labels, probabilities, quantise
from tiler.models.predictor.written import Labels, OneClass

NAMES = ("membrane", "cell", "vesicle")


def test_heads_compute_in_float32_or_better():
    scores = torch.tensor([[[[1.0]], [[-2.0]]]])
    soft = probabilities(scores, "softmax")
    assert soft.flatten().tolist() == pytest.approx([1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3))])
    assert probabilities(scores, "sigmoid").flatten()[0].item() == pytest.approx(1 / (1 + np.exp(-1)))
    assert torch.equal(probabilities(scores, "none"), scores)
    assert probabilities(scores.bfloat16(), "softmax").dtype == torch.float32
    assert probabilities(scores.double(), "softmax").dtype == torch.float64


def test_labels():
    values = torch.tensor([[[[0.2, 0.5]], [[0.7, 0.1]], [[0.1, 0.4]]]])
    assert labels(values).tolist() == [[[[1, 0]]]]
    assert labels(values).dtype == torch.uint8


def test_quantise():
    values = torch.tensor([0.0, 0.5, 1.0, 1.1, -0.1, 100.4 / 255])
    assert quantise(values, np.dtype("uint8")).tolist() == [0, 128, 255, 255, 0, 100]
    for name in ("float16", "float32", "float64"):
        assert quantise(values, np.dtype(name)).dtype == getattr(torch, name)


@pytest.mark.parametrize(("value", "given", "dtype", "message"), [
    (7e4, torch.float32, "float16", r"values up to 70000, float16 holds up to 65504.*dtype"),
    (1e39, torch.float64, "float32", r"values up to 1e\+39, float32 holds up to 3.4.*dtype"),
    (7e4, torch.float32, "uint8", "values from 0 to 70000, uint8 holds probabilities from 0 to 1"),
    (-3.0, torch.float32, "uint8", "values from -3 to 0, uint8 holds probabilities from 0 to 1"),
    (np.nan, torch.float32, "uint8", "values from nan to nan, uint8 holds probabilities from 0 to 1"),
])
def test_values_that_the_output_cannot_hold_are_refused(value, given, dtype, message):
    with pytest.raises(ModelError, match=message):
        quantise(torch.tensor([0.0, value], dtype=given), np.dtype(dtype))


def test_what_a_network_itself_makes_infinite_is_written():
    assert quantise(torch.tensor([np.inf, 1.0, np.nan]), np.dtype("float16")).isinf().tolist() == [True, False, False]


@pytest.mark.parametrize("written", [Labels(NAMES), OneClass("cell", 1, 3)])
def test_no_labels_are_made_of_nan(written):
    with pytest.raises(ModelError, match="the network gives NaN, of which no labels can be made"):
        written(torch.full((1, 3, 2, 2), torch.nan))


@pytest.mark.parametrize(
    ("rule", "names", "head", "chosen"),
    [
        (None, NAMES[:2], "softmax", (1,)),
        (None, NAMES[:2], "none", (0, 1)),
        (None, NAMES[:2], "sigmoid", (0, 1)),
        (None, NAMES, "softmax", (0, 1, 2)),
        ("all", NAMES[:2], "softmax", (0, 1)),
        ("membrane", NAMES, "softmax", (0,)),
        ("vesicle, 0", NAMES, "softmax", (2, 0)),
        ([1, "vesicle"], NAMES, "softmax", (1, 2)),
    ],
)
def test_choice_of_classes(rule, names, head, chosen):
    assert choose(rule, names, head) == chosen


@pytest.mark.parametrize("rule", ["nucleus", "3", "-1", [0, 0], "cell,cell", ""])
def test_classes_that_do_not_exist_are_refused(rule):
    with pytest.raises(ModelError, match="classes="):
        choose(rule, NAMES, "softmax")
