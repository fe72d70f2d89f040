"""Convolutional block attention.

References
----------
S. Woo et al., CBAM: Convolutional Block Attention Module (2018), section 3, 10.48550/arXiv.1807.06521.
"""

from __future__ import annotations

import torch
from torch import nn


class ChannelGate(nn.Module):
    """``(n, c, y, x) -> (n, c, y, x)``: each channel is multiplied by a weight computed from all channels.

    The global means and the global maxima of the channels pass through the same perceptron; the sigmoid of the sum
    of both results is the weight. Global pooling makes the network exact in stages.

    Parameters
    ----------
    channels
        Channels of the map.
    reduction
        Factor by which the perceptron's hidden layer is narrower.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mean, self.maximum = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.mlp = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.mlp(self.mean(x)) + self.mlp(self.maximum(x)))


class SpatialGate(nn.Module):
    """``(n, c, y, x) -> (n, c, y, x)``: each position is multiplied by a weight computed from its neighbourhood.

    The inputs of the convolution are the maximum and the mean over the channels, in this order.

    Parameters
    ----------
    kernel
        Side of the neighbourhood in pixels.
    """

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.near = nn.Sequential(nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.near(both))


class CBAM(nn.Sequential):
    """``(n, c, y, x) -> (n, c, y, x)``: a `ChannelGate`, then a `SpatialGate`.

    Parameters
    ----------
    channels
        Channels of the map.
    reduction
        Factor by which the perceptron's hidden layer is narrower; it has at least one unit.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__(ChannelGate(channels, reduction), SpatialGate())
