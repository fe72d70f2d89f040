"""Parts shared by the three bodies of the fully convolutional networks."""

from __future__ import annotations

from collections.abc import Iterable

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
