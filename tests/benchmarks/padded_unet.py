"""The network of the comparison with other libraries: a same-padded U-Net as most users write it, in torch alone."""

from __future__ import annotations

import torch
from torch import nn


def twice(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True),
                         nn.Conv2d(after, after, 3, padding=1), nn.ReLU(inplace=True))


class PaddedUNet(nn.Module):
    """(n, 1, y, x) -> (n, 2, y, x) for sides that `2 ** depth` divides."""

    def __init__(self, base: int = 32, depth: int = 4) -> None:
        super().__init__()
        widths = [base << level for level in range(depth + 1)]
        self.down = nn.ModuleList(twice(before, after) for before, after in zip([1, *widths], widths, strict=False))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[-2::-1])
        self.merge = nn.ModuleList(twice(2 * width, width) for width in widths[-2::-1])
        self.head = nn.Conv2d(base, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for stage in self.down[:-1]:
            skips.append(stage(x))
            x = self.pool(skips[-1])
        x = self.down[-1](x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = merge(torch.cat([skip, up(x)], 1))
        return self.head(x)


def make(base: int = 32, depth: int = 4) -> PaddedUNet:
    """The same weights in every process: He initialisation, so that the output varies."""
    torch.manual_seed(0)
    network = PaddedUNet(base, depth)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network.eval()
