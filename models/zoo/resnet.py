"""ResNet-50 of He et al. (2016), 10.1109/CVPR.2016.90."""

from __future__ import annotations

import torch
from torch import nn

from tiler.models.zoo.blocks import he_normal

BLOCKS = (3, 4, 6, 3)
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the 3x3 convolution has the stride."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * channels
        self.conv1, self.bn1 = nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None if stride == 1 and in_channels == out else nn.Sequential(
            nn.Conv2d(in_channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        short = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + short)


class ResNet50(nn.Module):
    """``(n, in_channels, y, x) -> (n, 32 base, y / 32, x / 32)``: the maps before the classifier.

    Layers have the names under which weights of this network are published.

    Parameters
    ----------
    in_channels
        Channels of the input.
    base
        Channels of the stem; 64 as published.
    """

    def __init__(self, in_channels: int = 3, base: int = 64) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, base, 7, 2, 3, bias=False), nn.BatchNorm2d(base)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        channels = base
        for number, count in enumerate(BLOCKS):
            width, stride = base << number, 2 if number else 1
            blocks = [Bottleneck(channels if index == 0 else EXPANSION * width, width, stride if index == 0 else 1)
                      for index in range(count)]
            channels = EXPANSION * width
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
        self.channels = channels
        self.apply(he_normal)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(BLOCKS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x
