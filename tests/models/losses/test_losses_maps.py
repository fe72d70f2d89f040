"""Losses of maps: values by hand on a few pixels, gradients by differences, and the traps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import logit
from torch.nn import functional as F

from tiler.errors import ModelError
from tiler.models.losses import ms_ssim as module
from tiler.models.losses.focal import focal_loss
from tiler.models.losses.ms_ssim import ms_ssim, ms_ssim_loss
from tiler.models.losses.overlap import (
    bce_dice_loss,
    bce_dice_loss_as_printed,
    bce_dice_loss_of_batch,
    dice,
    iou_loss,
)
from tiler.models.losses.structure import edge_weights, structure_loss
from tiler.models.losses.supervision import deep_supervision, full_scale_loss, presence_loss


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)

P = torch.tensor([0.8, 0.4, 0.1, 0.5], dtype=torch.float64).view(1, 1, 2, 2)
G = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64).view(1, 1, 2, 2)
Z = logit(P)
ENTROPY = -(math.log(0.8) + math.log(0.4) + math.log(0.9) + math.log(0.5)) / 4
EMPTY = torch.zeros(1, 1, 4, 4)
NOTHING = torch.full((1, 1, 4, 4), -200.0)  # a sigmoid of exactly 0 in float32


def test_dice_and_iou_by_hand():
    assert dice(P, G, 0.0).item() == pytest.approx(2 * 1.2 / (1.8 + 2))
    assert dice(P, G, 1.0).item() == pytest.approx((2 * 1.2 + 1) / (1.8 + 2 + 1))
    assert iou_loss(Z, G, 0.0).item() == pytest.approx(1 - 1.2 / (1.8 + 2 - 1.2))


def test_hybrids_of_unetpp_by_hand():
    assert bce_dice_loss(Z, G, 0.0).item() == pytest.approx(0.5 * ENTROPY + 1 - 2.4 / 3.8)
    assert bce_dice_loss_of_batch(Z, G).item() == pytest.approx(0.5 * ENTROPY - 3.4 / 4.8)
    foreground = (math.log(0.8) + math.log(0.4)) / 4
    assert bce_dice_loss_as_printed(Z, G).item() == pytest.approx(-(0.5 * foreground + 2.4 / 3.8))


def test_the_repositorys_dice_is_one_of_the_whole_batch():
    scores, target = torch.cat([Z, 2 * Z]), torch.cat([G, 1 - G])
    alone = (bce_dice_loss_of_batch(Z, G) + bce_dice_loss_of_batch(2 * Z, 1 - G)) / 2
    assert abs(bce_dice_loss_of_batch(scores, target) - alone) > 0.01
    alone = (bce_dice_loss(Z, G) + bce_dice_loss(2 * Z, 1 - G)) / 2
    assert bce_dice_loss(scores, target).item() == pytest.approx(alone.item())


def test_empty_masks():
    assert iou_loss(NOTHING, EMPTY, 0.0).isnan()  # as in the code of UNet 3+
    assert iou_loss(NOTHING, EMPTY) == 0
    assert dice(NOTHING.sigmoid(), EMPTY).item() == 1
    assert bce_dice_loss(NOTHING, EMPTY) == 0
    for scores in (NOTHING, -NOTHING, torch.zeros_like(NOTHING)):  # as printed, it teaches nothing
        assert bce_dice_loss_as_printed(scores, EMPTY) == 0
    assert iou_loss(-NOTHING, EMPTY) > 0.999
    assert structure_loss(NOTHING, EMPTY) == 0


def test_focal_by_hand():
    terms = [0.25 * 0.2**2 * math.log(0.8), 0.25 * 0.6**2 * math.log(0.4), 0.75 * 0.1**2 * math.log(0.9),
             0.75 * 0.5**2 * math.log(0.5)]
    assert focal_loss(Z, G).item() == pytest.approx(-sum(terms) / 4)
    assert focal_loss(Z, G, 0.0, 0.5).item() == pytest.approx(0.5 * ENTROPY)
    assert focal_loss(torch.tensor([[[[1e4, -1e4]]]]), torch.tensor([[[[1.0, 0.0]]]])) == 0


def reference_ms_ssim(a: np.ndarray, b: np.ndarray, luminance_everywhere: bool = False) -> float:
    """With scipy, scale by scale, as the formula is printed."""
    from scipy.ndimage import correlate1d

    at = np.arange(-5, 6)
    tap = np.exp(-(at**2) / (2 * 1.5**2))
    tap /= tap.sum()

    def blurred(x):
        return correlate1d(correlate1d(x, tap, 0), tap, 1)[5:-5, 5:-5]

    result = 1.0
    for scale, weight in enumerate(module.WEIGHTS):
        mean_a, mean_b = blurred(a), blurred(b)
        covariance = blurred(a * b) - mean_a * mean_b
        spread = blurred(a * a) - mean_a**2 + blurred(b * b) - mean_b**2
        contrast = (2 * covariance + 9e-4) / (spread + 9e-4)
        luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        last = scale == len(module.WEIGHTS) - 1
        result *= (luminance * contrast if last else contrast).mean() ** weight
        if luminance_everywhere and not last:
            result *= (luminance * contrast).mean() ** module.WEIGHTS[-1]
        a, b = (x[: len(x) // 2 * 2, : x.shape[1] // 2 * 2] for x in (a, b))
        a, b = ((x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4 for x in (a, b))
    return float(result)


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    a = rng.random((181, 176))
    return a, np.clip(0.7 * a + 0.3 * rng.random(a.shape), 0, 1)


def test_ms_ssim_is_the_printed_formula(pair):
    found = ms_ssim(*(torch.from_numpy(x)[None, None] for x in pair)).item()
    assert found == pytest.approx(reference_ms_ssim(*pair), abs=1e-9)


def test_luminance_enters_ms_ssim_at_the_last_scale_only(pair):
    """The trap: in the code of UNet 3+ the last scale's term enters the product with every scale."""
    found = ms_ssim(*(torch.from_numpy(x)[None, None] for x in pair)).item()
    assert abs(found - reference_ms_ssim(*pair, luminance_everywhere=True)) > 0.01


def test_ms_ssim_needs_a_whole_window_at_the_last_scale():
    with pytest.raises(ModelError, match="at least 176"):
        ms_ssim(torch.zeros(1, 1, 176, 175), torch.zeros(1, 1, 176, 175))
    same = torch.rand(1, 2, 176, 176)
    assert ms_ssim(same, same).item() == pytest.approx(1, abs=1e-6)


def test_ms_ssim_stays_finite_where_structure_is_opposite():
    scores = torch.randn(1, 1, 176, 176, dtype=torch.float64).requires_grad_()
    loss = ms_ssim_loss(scores, (scores.detach() < 0).double())
    loss.backward()
    assert loss.isfinite()
    assert scores.grad.isfinite().all()
    assert loss > 0.9


def test_structure_by_hand():
    """A window of 3 on 2 x 2 pixels sees all four of them; five zeros lie outside."""
    weights = 1 + 5 * (2 / 9 - G).abs()
    torch.testing.assert_close(edge_weights(G, 3), weights)
    both, total = (weights * P * G).sum(), (weights * (P + G)).sum()
    expected = ENTROPY + 1 - (both + 1) / (total - both + 1)
    assert structure_loss(Z, G, 3).item() == pytest.approx(expected.item())


def test_the_cross_entropy_of_esfpnet_is_not_weighted():
    plain, weighted = structure_loss(Z, G, 3), structure_loss(Z, G, 3, weighted_entropy=True)
    entropy, weights = F.binary_cross_entropy_with_logits(Z, G, reduction="none"), edge_weights(G, 3)
    change = (weights * entropy).sum() / weights.sum() - entropy.mean()
    assert (weighted - plain).item() == pytest.approx(change.item())
    assert abs(change) > 0.01


def test_deep_supervision_is_the_mean_over_the_heads():
    mean = (bce_dice_loss(Z, G) + bce_dice_loss(-Z, G)) / 2
    assert deep_supervision([Z, -Z], G, bce_dice_loss).item() == pytest.approx(mean.item())


def test_presence_by_hand():
    presence = torch.tensor([[0.0, 2.0], [1.0, -1.0]], dtype=torch.float64)
    target = torch.stack([G[0], torch.zeros_like(G[0])])
    sigmoid = presence.sigmoid()
    right = [1 - sigmoid[0, 0], sigmoid[0, 1], sigmoid[1, 0], 1 - sigmoid[1, 1]]
    assert presence_loss(presence, target).item() == pytest.approx(-sum(p.log().item() for p in right) / 4)


def test_the_full_scale_loss_has_three_equal_parts():
    scores = torch.randn(1, 1, 176, 176)
    target = (torch.rand(1, 1, 176, 176) > 0.5).float()
    parts = focal_loss(scores, target) + ms_ssim_loss(scores, target) + iou_loss(scores, target)
    torch.testing.assert_close(full_scale_loss(scores, target), parts)


@pytest.mark.parametrize("loss", [iou_loss, bce_dice_loss, bce_dice_loss_of_batch, bce_dice_loss_as_printed, focal_loss,
                                  structure_loss])
def test_gradients(loss):
    torch.manual_seed(0)
    scores = torch.randn(2, 2, 3, 3, dtype=torch.float64).requires_grad_()
    target = (torch.rand(2, 2, 3, 3) > 0.5).double()
    assert torch.autograd.gradcheck(lambda z: loss(z, target), (scores,))


def test_the_gradient_of_ms_ssim(monkeypatch):
    """On two scales, for speed."""
    monkeypatch.setattr(module, "WEIGHTS", (0.6, 0.4))
    monkeypatch.setattr(module, "LEAST", 22)
    torch.manual_seed(0)
    scores = torch.randn(1, 1, 22, 22, dtype=torch.float64).requires_grad_()
    target = (scores.detach() + 0.5 * torch.randn(1, 1, 22, 22) > 0).double()
    assert torch.autograd.gradcheck(lambda z: ms_ssim_loss(z, target), (scores,), fast_mode=True)
