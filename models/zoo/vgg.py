"""VGG-16 of Simonyan and Zisserman (2014), 10.48550/arXiv.1409.1556, as a fully convolutional body."""

from __future__ import annotations

import torch
from torch import nn

from tiler.models.zoo.bodies import conv_relu, widths


class VGG16(nn.Module):
    """``(n, in_channels, y, x)`` -> maps of pool3, pool4 and fc7, at 1/8, 1/16 and 1/32 of the resolution.

    Parameters
    ----------
    in_channels
        Channels of the input.
    base
        Channels of the first stage; 64 as published.
    padding
        Padding of the first convolution. 100, as in the fully convolutional networks, leaves something for the 7x7
        layer at any input size. With 0 the classifier sees real pixels only; patches of 224 pixels take 1.
    """

    CHANNELS = (256, 512, 4096)
    """Channels of the three maps for a base of 64."""

    def __init__(self, in_channels: int = 3, base: int = 64, padding: int = 100) -> None:
        super().__init__()
        before, pad, stages = in_channels, padding, []
        for channels, count in zip(widths(base, (64, 128, 256, 512, 512)), (2, 2, 3, 3, 3), strict=True):
            layers: list[nn.Module] = []
            for _ in range(count):
                layers.append(conv_relu(before, channels, 3, padding=pad))
                before, pad = channels, 1
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True)))
        self.stages = nn.ModuleList(stages)
        (hidden,) = widths(base, (4096,))
        self.fc6, self.fc7 = conv_relu(before, hidden, 7), conv_relu(hidden, hidden, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pools = []
        for stage in self.stages:
            x = stage(x)
            pools.append(x)
        return pools[2], pools[3], self.drop(self.fc7(self.drop(self.fc6(x))))
