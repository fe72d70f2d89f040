import numpy as np
import pytest
import torch

from tiler.errors import ModelError
from tiler.models.predictor.heads import choose, labels, probabilities, quantise

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
    values = torch.tensor([0.0, 0.5, 1.0, 1.2, -0.1, 100.4 / 255])
    assert quantise(values, np.dtype("uint8")).tolist() == [0, 128, 255, 255, 0, 100]
    for name in ("float16", "float32", "float64"):
        assert quantise(values, np.dtype(name)).dtype == getattr(torch, name)


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
    with pytest.raises(ModelError, match="--classes"):
        choose(rule, NAMES, "softmax")
