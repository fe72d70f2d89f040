"""GoogLeNet of Szegedy et al. (2014), 10.48550/arXiv.1409.4842, without its classifiers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from tiler.models.zoo.bodies import conv_relu, widths


class Branches(NamedTuple):
    """Channels of an inception module for a base of 64 (table 1 of the paper)."""

    one: int
    three: tuple[int, int]
    five: tuple[int, int]
    pool: int

    @property
    def joined(self) -> int:
        return self.one + self.three[1] + self.five[1] + self.pool


STAGES = (
    (Branches(64, (96, 128), (16, 32), 32), Branches(128, (128, 192), (32, 96), 64)),
    (Branches(192, (96, 208), (16, 48), 64), Branches(160, (112, 224), (24, 64), 64),
     Branches(128, (128, 256), (24, 64), 64), Branches(112, (144, 288), (32, 64), 64),
     Branches(256, (160, 320), (32, 128), 128)),
    (Branches(256, (160, 320), (32, 128), 128), Branches(384, (192, 384), (48, 128), 128)),
)


class Inception(nn.Module):
    """``(n, c, y, x)`` -> the joined outputs of four branches: 1x1, 3x3, 5x5 and pooled."""

    def __init__(self, in_channels: int, branches: Branches, base: int) -> None:
        super().__init__()
        one, before3, three, before5, five, pool = widths(
            base, (branches.one, *branches.three, *branches.five, branches.pool))
        self.one = conv_relu(in_channels, one, 1)
        self.three = nn.Sequential(conv_relu(in_channels, before3, 1), conv_relu(before3, three, 3, padding=1))
        self.five = nn.Sequential(conv_relu(in_channels, before5, 1), conv_relu(before5, five, 5, padding=2))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_relu(in_channels, pool, 1))
        self.channels = one + three + five + pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


class GoogLeNet(nn.Module):
    """``(n, in_channels, y, x)`` -> the map of the last inception module, at 1/32 of the resolution.

    Parameters
    ----------
    in_channels
        Channels of the input.
    base
        Width of the network; 64 gives the published widths.
    padding
        Padding of the first convolution; no later layer needs a larger one.
    """

    CHANNELS = (1024,)

    def __init__(self, in_channels: int = 3, base: int = 64, padding: int = 3) -> None:
        super().__init__()
        first, second = widths(base, (64, 192))
        layers: list[nn.Module] = [
            conv_relu(in_channels, first, 7, stride=2, padding=padding), _pool(), _norm(),
            conv_relu(first, first, 1), conv_relu(first, second, 3, padding=1), _norm(),
        ]
        channels = second
        for stage in STAGES:
            layers.append(_pool())
            for branches in stage:
                module = Inception(channels, branches, base)
                layers.append(module)
                channels = module.channels
        self.features, self.channels = nn.Sequential(*layers), channels

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.features(x),)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def _norm() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
