"""Convolutional block attention: Woo et al. (2018), doi:10.48550/arXiv.1807.06521."""

from __future__ import annotations

import torch
from torch import nn


class ChannelGate(nn.Module):
    """``(n, c, y, x) -> (n, c, y, x)``: every channel times a weight that its global mean and maximum decide.

    Two numbers for each channel go through one perceptron, its two results are added. The pooling is all the
    compression there is before it. Global: exact in two passes.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mean, self.maximum = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.mlp = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.mlp(self.mean(x)) + self.mlp(self.maximum(x)))


class SpatialGate(nn.Module):
    """``(n, c, y, x) -> (n, c, y, x)``: every position times a weight that a 7x7 neighbourhood decides.

    Of the channels, maximum and mean are looked at, in this order.
    """

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.near = nn.Sequential(nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.near(both))


class CBAM(nn.Sequential):
    """``(n, c, y, x) -> (n, c, y, x)``: the channels' gate, then that of the positions.

    Parameters
    ----------
    channels
        Of the map.
    reduction
        How much narrower the perceptron's hidden layer is; it has one unit at least.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__(ChannelGate(channels, reduction), SpatialGate())
