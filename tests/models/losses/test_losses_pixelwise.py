"""Cross-entropy with ignored pixels."""

from __future__ import annotations

import math

import pytest
import torch

from tiler.models.losses.pixelwise import multinomial_loss

SCORES = torch.tensor([[0.0, 0.0, 5.0], [math.log(3.0), 0.0, -2.0]], dtype=torch.float64).view(1, 2, 1, 3)
CLASSES = torch.tensor([[[1, 0, 255]]])


def test_by_hand():
    total = -math.log(0.75) - math.log(0.5)
    assert multinomial_loss(SCORES, CLASSES).item() == pytest.approx(total / 2)
    assert multinomial_loss(SCORES, CLASSES, normalised=False).item() == pytest.approx(total)


def test_an_image_without_any_class_gives_zero():
    """The trap: the framework's mean over no pixel is NaN."""
    nothing = torch.full_like(CLASSES, 255)
    assert torch.nn.functional.cross_entropy(SCORES, nothing, ignore_index=255).isnan()
    assert multinomial_loss(SCORES, nothing) == 0


def test_gradient():
    scores = SCORES.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: multinomial_loss(z, CLASSES), (scores,))
    multinomial_loss(scores, CLASSES).backward()
    assert not scores.grad[..., 2].any()
