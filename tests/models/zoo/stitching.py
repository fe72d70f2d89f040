"""Dense output from a network that subsamples: shift and stitch, and the rarefied filters that equal it.

A. Giusti et al.: Fast image scanning with deep max-pooling convolutional neural networks,
doi:10.1109/ICIP.2013.6738831; J. Long, E. Shelhamer, T. Darrell, doi:10.1109/CVPR.2015.7298965, section 3.2.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from tiler.errors import ModelError

_WINDOWED = (nn.Conv2d, nn.MaxPool2d)


def shift_and_stitch(module: nn.Module, x: torch.Tensor, stride: int) -> torch.Tensor:
    """``(n, k, y', x')``: the output of a subsampling network at every voxel, from ``stride^2`` shifted inputs.

    Parameters
    ----------
    module
        Without padding; it gives one value for every ``stride`` voxels.
    x
        ``(n, c, y, x)``.
    stride
        Product of the strides.

    Notes
    -----
    The input is shifted by cutting voxels off its beginning. Published is a padding on that side, which gives
    the same values and some more at the border that depend on the padding.
    """
    grid = [[module(x[..., down:, right:]) for right in range(stride)] for down in range(stride)]
    first = grid[0][0]
    height = sum(row[0].shape[2] for row in grid)
    width = sum(part.shape[3] for part in grid[0])
    stitched = first.new_empty((*first.shape[:2], height, width))
    for down, row in enumerate(grid):
        for right, part in enumerate(row):
            stitched[:, :, down::stride, right::stride] = part
    return stitched


def rarefied(module: nn.Sequential) -> nn.Sequential:
    """The same network with every stride removed and all later windows dilated by it.

    A filter ``f`` behind a stride ``s`` becomes ``f'_ij = f_(i/s, j/s)`` where ``s`` divides ``i`` and ``j``,
    else 0.

    Raises
    ------
    ModelError
        If a layer has a padding, rounds up, or is neither convolution, max-pooling, nor something pointwise.
    """
    twin = copy.deepcopy(module)
    factor = 1
    for layer in twin:
        if isinstance(layer, _WINDOWED):
            factor = _rarefy(layer, factor)
        elif list(layer.children()) or "Pool" in type(layer).__name__:
            raise ModelError(f"{type(layer).__name__} cannot be rarefied: only flat chains of convolutions, "
                             "max-poolings and pointwise layers can")
    return twin


def _rarefy(layer: nn.Conv2d | nn.MaxPool2d, factor: int) -> int:
    """Dilate one layer by the strides so far; gives those that the next one meets."""
    stride = _single(layer.stride)
    if _single(layer.padding) or getattr(layer, "ceil_mode", False):
        raise ModelError(f"{layer} pads or rounds up: its output depends on where it begins")
    layer.dilation = (_single(layer.dilation) * factor,) * 2
    layer.stride = (1, 1)
    return factor * stride


def _single(value: int | tuple[int, ...] | str) -> int:
    """Of a setting that is the same along both axes."""
    values = {value} if isinstance(value, int | str) else set(value)
    if len(values) != 1 or not isinstance(only := values.pop(), int):
        raise ModelError(f"a layer with {value} along its axes cannot be rarefied: give one number for both")
    return only
