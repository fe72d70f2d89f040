"""What several of the networks are made of."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from tiler.errors import ModelError


class Supervised(NamedTuple):
    """What one pass gives for training.

    Parameters
    ----------
    outputs
        Scores ``(n, classes, y, x)`` of every head, in the order in which the network names its heads; of a classifier
        of whole images the one map ``(n, 1, y, x)`` in [0, 1] of its attention.
    presence
        ``(n, 2)`` scores of "nothing there" and "something there"; None without a classifier.
    """

    outputs: tuple[torch.Tensor, ...]
    presence: torch.Tensor | None


def require(holds: bool, message: str) -> None:
    """Refuse impossible arguments of a network in one line."""
    if not holds:
        raise ModelError(message)


def conv_norm_relu(in_channels: int, channels: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    """A 'same' convolution without bias, batch normalisation and a ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def double_conv(in_channels: int, channels: int, batch_norm: bool, dropout: float = 0.0) -> nn.Sequential:
    """Twice a 3x3 'same' convolution with bias, batch normalisation where asked, ReLU, dropout where asked."""
    layers: list[nn.Module] = []
    for before in (in_channels, channels):
        layers.append(nn.Conv2d(before, channels, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU(inplace=True))
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def he_normal(module: nn.Module) -> None:
    """Draw the weights of a convolution from N(0, sqrt(2 / fan-in)); biases are zero.

    An output of a transposed convolution meets every stride-th tap only, which its fan-in counts.
    K. He et al.: Delving Deep into Rectifiers, doi:10.1109/ICCV.2015.123.
    """
    if isinstance(module, nn.modules.conv._ConvNd):
        taps = math.prod(module.kernel_size) / (math.prod(module.stride) if module.transposed else 1)
        fan_in = module.in_channels // module.groups * taps
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def mean_of_heads(scores: torch.Tensor) -> torch.Tensor:
    """``(n, k, y, x)``: scores whose probabilities are the mean of those of ``(heads, n, k, y, x)`` scores.

    The mean belongs to probabilities, a network of tiler's returns scores. So what is returned is the logit of
    the mean sigmoid (one class), or the logarithm of the mean soft-max (several); both stay finite.
    """
    if scores.shape[2] > 1:
        return scores.log_softmax(2).logsumexp(0) - math.log(len(scores))
    yes, no = nn.functional.logsigmoid(scores), nn.functional.logsigmoid(-scores)
    return yes.logsumexp(0) - no.logsumexp(0)
