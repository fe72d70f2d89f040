"""2.5-D networks: planar networks that see neighbouring slices as channels."""

from __future__ import annotations

import torch
from torch import nn

from tiler.errors import ModelError


class SlicesAsChannels(nn.Module):
    """``(n, c, z, y, x) -> (n, k, z - slices + 1, y', x')``: a planar network on every run of neighbouring slices.

    The engine treats it as a network of three axes with half a run of context in z on either side, so that the ends of
    a stack are mirrored, or zero, as in any volume::

        z     0 1 2 3 4 5        slices = 3
              |_|_|              -> the result of slice 1
                |_|_|            -> of slice 2

    Parameters
    ----------
    network
        ``(n, c * slices, y, x) -> (n, k, y', x')``. Channel ``c * slices + s`` is slice ``s`` of channel ``c``.
    slices
        Number of slices in a run, odd; the result belongs to the middle one.
    in_channels
        Number of channels of a slice, ``c``.

    Raises
    ------
    ModelError
        For an even number of slices.
    """

    ndim = 3

    def __init__(self, network: nn.Module, slices: int, in_channels: int = 1) -> None:
        super().__init__()
        if slices < 1 or slices % 2 == 0:
            raise ModelError(f"a 2.5-D network has one slice in the middle: their number is odd, got {slices}")
        self.network, self.slices, self.in_channels = network, slices, in_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        runs = x.unfold(2, self.slices, 1).permute(0, 2, 1, 5, 3, 4).flatten(2, 3)
        planes = self.network(runs.flatten(0, 1))
        return planes.unflatten(0, runs.shape[:2]).transpose(1, 2)
