"""CaffeNet, the single-column AlexNet of Krizhevsky et al. (2012), 10.1145/3065386, as a fully convolutional body."""

from __future__ import annotations

import torch
from torch import nn

from tiler.models.zoo.bodies import conv_relu, widths


class AlexNet(nn.Module):
    """``(n, in_channels, y, x)`` -> the map of fc7, at 1/32 of the resolution.

    Parameters
    ----------
    in_channels
        Channels of the input.
    base
        Width of the network; 64 gives the published widths. A multiple of 4, because some layers work on halves of
        the channels.
    padding
        Padding of the first convolution, see `tiler.models.zoo.vgg.VGG16`; 0 for patches of 227 pixels.
    """

    CHANNELS = (4096,)

    def __init__(self, in_channels: int = 3, base: int = 64, padding: int = 100) -> None:
        super().__init__()
        a, b, c, hidden = widths(base, (96, 256, 384, 4096))
        self.features = nn.Sequential(
            conv_relu(in_channels, a, 11, stride=4, padding=padding), _pool(), _norm(),
            conv_relu(a, b, 5, padding=2, groups=2), _pool(), _norm(),
            conv_relu(b, c, 3, padding=1),
            conv_relu(c, c, 3, padding=1, groups=2),
            conv_relu(c, b, 3, padding=1, groups=2), _pool(),
        )
        self.fc6, self.fc7 = conv_relu(b, hidden, 6), conv_relu(hidden, hidden, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.drop(self.fc7(self.drop(self.fc6(self.features(x))))),)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def _norm() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
