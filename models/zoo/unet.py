"""The U-Net of Ronneberger, Fischer and Brox (2015), doi:10.1007/978-3-319-24574-4_28."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

from tiler.errors import ModelError

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_CONV_TRANSPOSE = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


@dataclass(frozen=True, slots=True)
class UNetArguments:
    """Arguments of a `UNet`, checked."""

    in_channels: int = 1
    classes: int = 2
    base: int = 64
    depth: int = 4
    padding: Literal["valid", "same"] = "valid"
    batch_norm: bool = False
    dropout: float = 0.0
    ndim: int = 2
    flat: int = 0

    def __post_init__(self) -> None:
        if self.padding not in ("valid", "same"):
            raise ModelError(f"a U-Net's padding is 'valid' or 'same', got {self.padding!r}")
        if self.ndim not in _CONV:
            raise ModelError(f"a U-Net has 1 to 3 axes, got ndim={self.ndim}")
        if min(self.in_channels, self.classes, self.base, self.depth) < 1:
            raise ModelError(f"channels, classes, base and depth of a U-Net are at least 1, got {self}")
        if not 0 <= self.flat <= (self.depth if self.ndim == 3 else 0):
            raise ModelError(f"only a 3-D U-Net has flat levels, and at most as many as it has poolings, got {self}")

    def factor(self, level: int) -> int | tuple[int, int, int]:
        """Return the factor by which the pooling below a level reduces each axis."""
        return (1, 2, 2) if level < self.flat else 2


class UNet(nn.Module):
    """``(n, in_channels, *size) -> (n, classes, *size')`` float scores (logits).

    With valid padding an input of ``2^depth k + 4 (2^depth - 1)`` voxels gives ``2^depth k - 4 (2^(depth+1) - 1)``:
    depth 4 and k = 32 turn 572 into 388. With same padding the size is a multiple of ``2^depth`` and does not change.
    At other sizes some pooling drops a voxel; the module accepts them, the engine does not.

    Parameters
    ----------
    in_channels, classes
        Channels of input and output.
    base
        Channels of the first level; each deeper level has twice as many.
    depth
        Number of poolings.
    padding
        ``"valid"``: convolutions without padding and cropped skips, as published. ``"same"``: zero padding.
    batch_norm
        Whether batch normalisation follows each 3x3 convolution; the paper has none.
    dropout
        Probability of dropping a value at the end of the contracting path, as in the paper; here at the output of the
        deepest level.
    ndim
        Number of spatial axes: 1, 2 or 3.
    flat
        Number of first levels whose pooling leaves z unchanged; for 3-D networks and voxels that are longer in z.

    Notes
    -----
    As in section 3 of the paper, weights are drawn from a normal distribution of standard deviation sqrt(2 / N), where
    N counts the incoming nodes of a neuron: 9 * 64 = 576 gives 0.0589. Biases are zero. A 2x2 transposed convolution
    of stride 2 does not overlap, so each output sees every input channel once, and N is the number of input channels
    (torch's convention would be four times the output channels).

    References
    ----------
    O. Ronneberger, P. Fischer, T. Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation (2015),
    10.1007/978-3-319-24574-4_28.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - weights carry them by name
        self,
        in_channels: int = 1,
        classes: int = 2,
        base: int = 64,
        depth: int = 4,
        padding: Literal["valid", "same"] = "valid",
        batch_norm: bool = False,
        dropout: float = 0.0,
        ndim: int = 2,
        flat: int = 0,
    ) -> None:
        super().__init__()
        given = UNetArguments(in_channels, classes, base, depth, padding, batch_norm, dropout, ndim, flat)
        self.arguments: dict[str, Any] = asdict(given)
        width = [base << level for level in range(depth + 1)]
        self.enc = nn.ModuleList(_double(given, a, b) for a, b in zip([in_channels, *width], width, strict=False))
        factors = [given.factor(level) for level in range(depth)]
        self.pool = nn.ModuleList(_MAX_POOL[ndim](factor) for factor in factors)
        self.drop = nn.Dropout(dropout)
        up: Any = _CONV_TRANSPOSE[ndim]
        self.up = nn.ModuleList(up(2 * b, b, factor, stride=factor)
                                for b, factor in zip(width[-2::-1], factors[::-1], strict=True))
        self.dec = nn.ModuleList(_double(given, 2 * b, b) for b in width[-2::-1])
        self.head = _CONV[ndim](base, classes, 1)
        self.apply(_he_normal)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Names are rebound or popped as soon as their tensor is used up: any tensor that still has a name here
        # adds to the peak memory of a tile.
        skips: list[torch.Tensor] = []
        for encode, pool in zip(self.enc[:-1], self.pool, strict=True):
            x = encode(x)
            skips.append(x)
            x = pool(x)
        x = self.drop(self.enc[-1](x))
        for up, decode in zip(self.up, self.dec, strict=True):
            x = up(x)
            x = _join(skips.pop(), x)
            x = decode(x)
        return self.head(x)


def _double(given: UNetArguments, in_channels: int, channels: int) -> nn.Sequential:
    """Return two 3x3 convolutions, each with a ReLU."""
    padding = 1 if given.padding == "same" else 0
    layers: list[nn.Module] = []
    for before in (in_channels, channels):
        layers.append(_CONV[given.ndim](before, channels, 3, padding=padding))
        if given.batch_norm:
            layers.append(_BATCH_NORM[given.ndim](channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _join(skip: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Join the centre of a skip and ``x`` along the channels; a skip is never padded, which would break the phase."""
    for axis in range(2, x.ndim):
        surplus = skip.shape[axis] - x.shape[axis]
        skip = skip.narrow(axis, surplus // 2, x.shape[axis])
    return torch.cat([skip, x], 1)


def _he_normal(module: nn.Module) -> None:
    if isinstance(module, nn.modules.conv._ConvNd):
        per_channel = 1 if module.transposed else math.prod(module.kernel_size)
        nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * per_channel)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
