"""Networks with norms, by factories that give the same values each time: they are run in stages."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tiler.models.aten.random_weights import random_copy
from tiler.models.loading.slices_as_channels import SlicesAsChannels


class Normed(nn.Module):
    """A U-Net of two levels with instance and group norm, in 2 or 3 axes; it takes every size."""

    def __init__(self, ndim: int, in_channels: int = 1) -> None:
        super().__init__()
        self.ndim, self.in_channels = ndim, in_channels
        conv, norm = ((nn.Conv2d, nn.InstanceNorm2d), (nn.Conv3d, nn.InstanceNorm3d))[ndim - 2]
        self.fine = nn.Sequential(conv(in_channels, 4, 3, padding=1), norm(4, affine=True), nn.LeakyReLU(inplace=True))
        self.coarse = nn.Sequential(conv(4, 6, 3, 2, 1), nn.GroupNorm(2, 6), nn.ReLU(inplace=True))
        self.last = conv(10, 2, 1)
        self.mode = ("bilinear", "trilinear")[ndim - 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.fine(x)
        return self.last(torch.cat([fine, F.interpolate(self.coarse(fine), size=x.shape[2:], mode=self.mode)], 1))


class Pooled(nn.Module):
    """A 3-D U-Net of plant-seg's kind: group norm before convolutions, pooling that drops what is left over."""

    ndim, in_channels = 3, 1

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 4, 3, padding=1)
        self.down = nn.ModuleList(self._block(4) for _ in range(levels - 1))
        self.up = nn.ModuleList(self._block(8) for _ in range(levels - 1))
        self.last = nn.Conv3d(4, 2, 1)

    @staticmethod
    def _block(channels: int) -> nn.Module:
        return nn.Sequential(nn.GroupNorm(2, channels), nn.Conv3d(channels, 4, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = [self.first(x)]
        for block in self.down:
            skips.append(block(F.max_pool3d(skips[-1], 2)))
        x = skips.pop()
        for block in self.up:
            skip = skips.pop()
            x = block(torch.cat([skip, F.interpolate(x, size=skip.shape[2:])], 1))
        return self.last(x)


class Several(Normed):
    """Returns two outputs, of which the second one is normalised once more."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        out = super().forward(x)
        return {"out": out, "aux": F.instance_norm(out.flip(1))}


class Neighbours(nn.Module):
    """A network of slices that sees the ones above and below as channels; the outermost ones are repeated."""

    ndim, in_channels = 3, 1

    def __init__(self) -> None:
        super().__init__()
        self.network = SlicesAsChannels(Normed(2, 3), 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2))


class Gated(nn.Module):
    """No context along any axis, and a mean of the whole volume."""

    ndim, in_channels = 3, 1

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv3d(1, 3, (1, 3, 3), padding=(0, 1, 1)), nn.Conv3d(3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(x * torch.sigmoid(x.mean((2, 3, 4), keepdim=True)))


class Shallow(nn.Module):
    """Instance norm of a volume between layers whose context is along the plane alone."""

    ndim, in_channels = 3, 1

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv3d(1, 3, (1, 3, 3), padding=(0, 1, 1)), nn.InstanceNorm3d(3, affine=True)
        self.last = nn.Conv3d(3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.relu(self.norm(self.first(x))))


def planar() -> nn.Module:
    return random_copy(Normed(2), 0).float()


def volumes() -> nn.Module:
    return random_copy(Normed(3), 0).float()


def several() -> nn.Module:
    return random_copy(Several(2), 0).float()


def neighbours() -> nn.Module:
    return random_copy(Neighbours(), 0).float()


def valid_neighbours() -> nn.Module:
    return random_copy(SlicesAsChannels(Normed(2, 3), 3), 0).float()


def shallow() -> nn.Module:
    return random_copy(Shallow(), 0).float()


def gated() -> nn.Module:
    return random_copy(Gated(), 0).float()
