"""Interpolation as a transposed convolution, which may be learned from there on."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def bilinear_kernel(size: int) -> torch.Tensor:
    """``(size, size)`` float: ``(1 - |i - c| / f) (1 - |j - c| / f)``, a tent around the centre ``c``.

    ``f`` is half the size, rounded up, and ``c`` is ``f - 1`` for odd sizes and ``f - 0.5`` for even ones.
    """
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    tent = 1 - (torch.arange(size, dtype=torch.get_default_dtype()) - centre).abs() / factor
    return torch.outer(tent, tent)


class BilinearUpsampling(nn.Module):
    """``(n, channels, y, x) -> (n, channels, (y - 1) stride + kernel, ...)``: every channel by itself.

    Parameters
    ----------
    channels
        Of the map.
    kernel, stride
        Of the transposed convolution.
    learned
        Whether the kernels, one for each channel, are parameters that begin as bilinear; else there is one kernel
        which is never trained.

    Notes
    -----
    The published definitions use a dense convolution whose weights between different channels are all 0. Those
    are left out, so ``channels^2 kernel^2`` weights become ``channels kernel^2`` or none.
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
