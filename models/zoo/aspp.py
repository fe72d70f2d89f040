"""Atrous spatial pyramid pooling as in DeepLabv3.

References
----------
L.-C. Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation (2017), section 3.3,
10.48550/arXiv.1706.05587.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tiler.models.zoo.blocks import conv_norm_relu


class ASPP(nn.Module):
    """``(n, in_channels, y, x) -> (n, channels, y, x)``: parallel branches with context of several sizes.

    Parameters
    ----------
    in_channels, channels
        Channels of input and output.
    branch
        Channels of each branch: 1x1, 3x3 at each rate, and the mean of the whole map. Because of the mean the network
        runs in stages.
    rates
        Dilations. On a map smaller than a rate only the centre of that kernel sees data: 18 on the 14 x 14 map of a
        224 x 224 input.

    Notes
    -----
    In training the branch of the mean has a single value for each channel and image, so its batch normalisation needs
    at least two images per batch.
    """

    def __init__(self, in_channels: int, channels: int, branch: int = 256, rates: Sequence[int] = (6, 12, 18)) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_norm_relu(in_channels, branch, 1)])
        self.branches.extend(conv_norm_relu(in_channels, branch, 3, rate) for rate in rates)
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_norm_relu(in_channels, branch, 1))
        joined = (len(rates) + 2) * branch
        self.project = nn.Sequential(conv_norm_relu(joined, channels, 1), nn.Dropout(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [branch(x) for branch in self.branches]
        parts.append(self.image(x).expand_as(parts[0]))
        return self.project(torch.cat(parts, 1))
