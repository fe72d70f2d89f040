"""Building blocks shared by several networks."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from tiler.errors import ModelError


class Supervised(NamedTuple):
    """Outputs of a pass for training.

    Parameters
    ----------
    outputs
        Scores ``(n, classes, y, x)`` of each head, in the network's order of heads. A classifier of whole images
        returns a single attention map ``(n, 1, y, x)`` in [0, 1].
    presence
        Scores ``(n, 2)`` of "nothing there" and "something there"; None without a classifier.
    """

    outputs: tuple[torch.Tensor, ...]
    presence: torch.Tensor | None


def require(holds: bool, message: str) -> None:
    """Raise a `ModelError` with this message unless a condition holds."""
    if not holds:
        raise ModelError(message)


def conv_norm_relu(in_channels: int, channels: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    """Return a 'same' convolution without bias, batch normalisation and a ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def double_conv(in_channels: int, channels: int, batch_norm: bool, dropout: float = 0.0) -> nn.Sequential:
    """Return two 3x3 'same' convolutions with bias, each with optional batch norm, a ReLU and optional dropout."""
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
    """Draw the weights of a convolution from a normal distribution of standard deviation sqrt(2 / fan-in).

    Biases become zero. An output of a transposed convolution meets only every stride-th tap; its fan-in counts these.

    References
    ----------
    K. He et al., Delving Deep into Rectifiers (2015), equation 10, 10.1109/ICCV.2015.123.
    """
    # 3x3 convolution of 64 channels: sqrt(2 / (64 * 9)) = 0.0589
    if isinstance(module, nn.modules.conv._ConvNd):
        taps = math.prod(module.kernel_size) / (math.prod(module.stride) if module.transposed else 1)
        fan_in = module.in_channels // module.groups * taps
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def mean_of_heads(scores: torch.Tensor) -> torch.Tensor:
    """Average probabilities over heads: scores ``(heads, n, k, y, x)`` become scores ``(n, k, y, x)``.

    Networks return scores, but the mean is taken of probabilities. The result is therefore the logit of the mean
    sigmoid (one class) or the logarithm of the mean soft-max (several classes); both stay finite.
    """
    if scores.shape[2] > 1:
        return scores.log_softmax(2).logsumexp(0) - math.log(len(scores))
    yes, no = nn.functional.logsigmoid(scores), nn.functional.logsigmoid(-scores)
    return yes.logsumexp(0) - no.logsumexp(0)
