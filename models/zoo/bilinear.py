"""Bilinear interpolation as a transposed convolution, which can be trained further."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def bilinear_kernel(size: int) -> torch.Tensor:
    """Return the kernel ``(1 - |i - c| / f) (1 - |j - c| / f)``, ``(size, size)`` float, a tent around its centre c.

    f is half the size, rounded up; c is ``f - 1`` for odd sizes and ``f - 0.5`` for even ones. Size 4: f = 2, c = 1.5,
    and the tent is 0.25, 0.75, 0.75, 0.25.
    """
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    tent = 1 - (torch.arange(size, dtype=torch.get_default_dtype()) - centre).abs() / factor
    return torch.outer(tent, tent)


class BilinearUpsampling(nn.Module):
    """``(n, channels, y, x) -> (n, channels, (y - 1) stride + kernel, ...)``; each channel is processed on its own.

    Parameters
    ----------
    channels
        Channels of the map.
    kernel, stride
        Size and stride of the transposed convolution.
    learned
        Whether each channel has a kernel that is trained, starting as bilinear. Otherwise a single fixed kernel serves
        all channels.

    Notes
    -----
    The published definitions use a dense convolution in which all weights between different channels are 0. Leaving
    these out reduces ``channels^2 kernel^2`` weights to ``channels kernel^2``, or to none.
    """

    def __init__(self, channels: int, kernel: int, stride: int, learned: bool = False) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        weight = bilinear_kernel(kernel)[None, None]
        if learned:
            self.weight = nn.Parameter(weight.repeat(channels, 1, 1, 1))
        else:
            self.register_buffer("weight", weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight.expand(self.channels, -1, -1, -1)
        return F.conv_transpose2d(x, weight, stride=self.stride, groups=self.channels)
