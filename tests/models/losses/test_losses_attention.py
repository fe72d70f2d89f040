"""Losses of guided attention, by hand and by differences."""

from __future__ import annotations

import math

import pytest
import torch

from tiler.models.losses.attention import (
    attention_mining_loss,
    guided_attention_loss,
    soft_mask,
    without_attended,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)

SCORES = torch.tensor([[0.0, math.log(3.0)]], dtype=torch.float64)  # probabilities 1/4 and 3/4
CLASSES = torch.tensor([1])
ATTENTION = torch.tensor([[[[0.5, 0.25], [0.0, 1.0]]]], dtype=torch.float64)
MASK = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]], dtype=torch.float64)


def test_guided_attention_by_hand():
    expected = 0.9 * -math.log(0.75) + 0.1 * (0.25 + 0.0625) / 4
    assert guided_attention_loss(SCORES, CLASSES, ATTENTION, MASK).item() == pytest.approx(expected)


def test_attention_is_brought_to_the_mask():
    small = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    loss = guided_attention_loss(SCORES, CLASSES, small, torch.zeros(1, 1, 6, 6, dtype=torch.float64), 1.0)
    assert loss.item() == pytest.approx(0.25)


def test_an_image_without_a_lesion_asks_for_no_attention_and_is_finite():
    nothing = torch.zeros_like(MASK)
    assert guided_attention_loss(SCORES, CLASSES, nothing, nothing, 1.0) == 0


def test_the_soft_mask_by_hand():
    assert soft_mask(torch.tensor(0.5)).item() == 0.5
    assert soft_mask(torch.tensor(1.0), 0.5, 10).item() == pytest.approx(1 / (1 + math.exp(-5)))
    image = torch.ones(1, 3, 2, 2, dtype=torch.float64)
    left = without_attended(image, ATTENTION)
    assert left.shape == (1, 3, 2, 2)
    assert left[0, 2, 1, 1].item() == pytest.approx(1 / (1 + math.exp(5)))


def test_mining_by_hand():
    assert attention_mining_loss(SCORES, CLASSES).item() == pytest.approx(0.75)


def test_gradients():
    attention = ATTENTION.clone().requires_grad_()
    scores = SCORES.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s, a: guided_attention_loss(s, CLASSES, a, MASK), (scores, attention))
    assert torch.autograd.gradcheck(lambda a: without_attended(MASK, a), (attention,))
    assert torch.autograd.gradcheck(lambda s: attention_mining_loss(s, CLASSES), (scores,))
