"""Losses by name, and the networks that each suits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tiler.errors import ModelError
from tiler.models.losses.attention import guided_attention_loss
from tiler.models.losses.ms_ssim import LEAST
from tiler.models.losses.overlap import bce_dice_loss, bce_dice_loss_as_printed, bce_dice_loss_of_batch
from tiler.models.losses.structure import structure_loss
from tiler.models.losses.supervision import Loss, deep_supervision, full_scale_loss, presence_loss
from tiler.models.training.own_code import own_function
from tiler.models.zoo.blocks import Supervised


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss and the networks that it suits.

    Parameters
    ----------
    channels
        Output channels of the network: 2 for a soft-max over background and object, 1 for a sigmoid of the object
        alone; None for any number.
    of
        Function of the outputs of `supervised`, classes ``(n, [z], y, x)`` int64 and weights ``(n, [z], y, x)``
        float32 that gives a scalar.
    weighted
        Whether it uses the weights of the pixels.
    least
        Smallest side of an output, in pixels.
    guides
        Whether it suits only classifiers of whole images, whose attention it trains.
    planar
        Whether it suits only networks of slices.
    """

    channels: int | None
    of: Callable[[Supervised, torch.Tensor, torch.Tensor], torch.Tensor]
    weighted: bool = False
    least: int = 1
    guides: bool = False
    planar: bool = False


def supervised(module: nn.Module, images: torch.Tensor) -> Supervised:
    """The outputs of a network in training: those of all its heads, or its one output."""
    several = getattr(module, "supervised", None)
    return Supervised((module(images),), None) if several is None else several(images)


def weighted_cross_entropy(scores: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Scalar: mean over all pixels of ``-w log p_c``, with p the soft-max of the scores.

    Parameters
    ----------
    scores
        ``(n, k, [z], y, x)``.
    classes
        ``(n, [z], y, x)`` int64.
    weights
        ``(n, [z], y, x)``.

    Notes
    -----
    The paper prints the sum without its sign. The mean makes the learning rate independent of the tile; it is not
    divided by the sum of the weights, so that a tile with many narrow gaps counts for more.
    """
    return (weights * F.cross_entropy(scores.float(), classes, reduction="none")).mean()


def guided_attention(found: Supervised, classes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Scalar: `guided_attention_loss` of a tile, which shows an object if any pixel is 1; pixel weights are ignored."""
    assert found.presence is not None
    mask = classes[:, None].to(torch.float32)
    (attention,) = found.outputs
    return guided_attention_loss(found.presence.float(), classes.flatten(1).amax(1), attention.float(), mask)


def _of_heads(loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor], channels: int | None,
              **more: Any) -> Objective:
    """The mean of a loss over the supervised outputs, plus the loss of the presence scores if there are any.

    Parameters
    ----------
    loss
        Function of scores ``(n, channels, [z], y, x)`` float32, classes and weights.
    """
    def of(found: Supervised, classes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        mean = deep_supervision(found.outputs, classes, lambda scores, truth: loss(scores.float(), truth, weights))
        return mean if found.presence is None else mean + presence_loss(found.presence.float(), classes[:, None])

    return Objective(channels, of, **more)


def _of_masks(loss: Loss, **more: Any) -> Objective:
    """A loss that compares one channel of scores with a mask."""
    return _of_heads(lambda scores, classes, _: loss(scores, classes[:, None].to(scores.dtype)), 1, **more)


OBJECTIVES = {
    "cross-entropy": _of_heads(weighted_cross_entropy, 2, weighted=True),
    "bce-dice": _of_masks(bce_dice_loss),
    "bce-dice-of-batch": _of_masks(bce_dice_loss_of_batch),
    "bce-dice-as-printed": _of_masks(bce_dice_loss_as_printed),
    "full-scale": _of_masks(full_scale_loss, least=LEAST, planar=True),
    "structure": _of_masks(structure_loss, planar=True),
    "guided-attention": Objective(2, guided_attention, guides=True, planar=True),
}
"""``cross-entropy``: of the soft-max, each pixel weighted (U-Net, FCN, CA-U-Net, sliding window). ``bce-dice`` and its
two variants: U-Net++. ``full-scale``: focal + MS-SSIM + IoU (UNet 3+). ``structure``: ESFPNet.
``guided-attention``: GAIN-ResNet-50. See `tiler.models.losses`.
"""


def objective_of(name: str) -> Objective:
    """The loss of that name, or the user's own ``file.py:function``.

    The user's function is called with scores ``(n, k, [z], y, x)`` float32, classes ``(n, [z], y, x)`` int64 (0
    background, 1 object) and weights ``(n, [z], y, x)`` float32 of the pixels, once for every head, and returns a
    scalar tensor.

    Raises
    ------
    ModelError
        If the user's function cannot be imported.
    """
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    function, title = own_function(name, "loss"), Path(name).name

    def loss(scores: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        cost = function(scores, classes, weights)
        if not isinstance(cost, torch.Tensor) or cost.numel() != 1:
            given = f"a tensor {tuple(cost.shape)}" if isinstance(cost, torch.Tensor) else f"a {type(cost).__name__}"
            raise ModelError(f"{title} returns {given}, a loss is one number as a tensor", option="loss")
        if not cost.requires_grad and scores.requires_grad:
            raise ModelError(f"{title} returns a number that has no gradient: compute it from the scores by torch",
                             option="loss")
        return cost

    return _of_heads(loss, None, weighted=True)
