"""Parts shared by the three bodies of the fully convolutional networks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def widths(base: int, published: Iterable[int]) -> list[int]:
    """Scale published channel numbers from a base of 64 to ``base``."""
    return [max(1, channels * base // 64) for channels in published]


def conv_relu(
    in_channels: int, channels: int, kernel: int, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Sequential:
    """Return a convolution with bias and a ReLU."""
    convolution = nn.Conv2d(in_channels, channels, kernel, stride, padding, groups=groups)
    return nn.Sequential(convolution, nn.ReLU(inplace=True))


def convolutionalised(layer: nn.Linear, kernel: tuple[int, int]) -> nn.Conv2d:
    """A fully connected layer on ``(n, channels, *kernel)`` maps as the convolution that it is, weights re-shaped.

    On a larger map it gives what the layer gives in every window of that size.
    J. Long, E. Shelhamer, T. Darrell: doi:10.1109/CVPR.2015.7298965, section 3.1.
    """
    channels = layer.in_features // (kernel[0] * kernel[1])
    convolution = nn.Conv2d(channels, layer.out_features, kernel, bias=layer.bias is not None)
    with torch.no_grad():
        convolution.weight.copy_(layer.weight.reshape(convolution.weight.shape))
        if layer.bias is not None and convolution.bias is not None:
            convolution.bias.copy_(layer.bias)
    return convolution.to(layer.weight.dtype)
