"""U-Net++ of Zhou et al. (2018), 10.1007/978-3-030-00889-5_1, and the wide U-Net of the same paper."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import nn

from tiler.models.zoo.blocks import Supervised, double_conv, he_normal, mean_of_heads, require
from tiler.models.zoo.unet import UNet

Up = Literal["deconv", "bilinear", "corners"]
Heads = Literal["one", "accurate", "fast"]


class UNetPlusPlus(nn.Module):
    """``(n, in_channels, y, x) -> (n, classes, y, x)`` float scores (logits); y and x multiples of ``2^depth``.

    Node (i, j) lies ``i`` poolings below the input. It joins all earlier nodes of its row and the upsampled node of
    the row below::

        x00 ------ x01 ------ x02      node (i, 0) = H(pool(node (i-1, 0)))
           \\      /   \\      /         node (i, j) = H([node (i, 0) ... node (i, j-1), U(node (i+1, j-1))])
            x10 ------ x11
               \\      /
                x20                    every x0j with j > 0 can have a head

    Parameters
    ----------
    in_channels, classes
        Channels of input and output.
    base
        Channels of the first row; each lower row has twice as many.
    depth
        Number of poolings. Pruned to level d, the network with heads is that of depth d, with some of its values.
    up
        ``"deconv"``: 2x2 transposed convolutions that halve the channels, as published. ``"bilinear"``: interpolation
        without weights, which passes all channels to the next node. ``"corners"``: interpolation with aligned
        corners, as in a common implementation; its grid depends on the size of the map, so no tiling is exact.
    batch_norm
        Whether batch normalisation follows each convolution; not in the paper, but in the common bilinear
        implementation.
    heads
        ``"one"``: a head on the last node. ``"accurate"``: a head on each node x0j (deep supervision); `forward`
        returns the mean of their probabilities. ``"fast"``: the same heads; `forward` returns the last one.
    dropout
        Probability of dropout after each ReLU; 0.5 in the authors' implementation.

    Notes
    -----
    Parts are joined in the order of the implementations: the upsampled part comes first with ``"deconv"``, last with
    ``"bilinear"``. Heads are averaged as probabilities, as published; another implementation averages scores.

    References
    ----------
    Z. Zhou, M. M. R. Siddiquee, N. Tajbakhsh, J. Liang: UNet++: A Nested U-Net Architecture for Medical Image
    Segmentation. DLMIA 2018. doi:10.1007/978-3-030-00889-5_1
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 1,
        base: int = 32,
        depth: int = 4,
        *,
        up: Up = "deconv",
        batch_norm: bool = False,
        heads: Heads = "one",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require(up in get_args(Up), f"a U-Net++ goes up by {', '.join(get_args(Up))}, got {up!r}")
        require(heads in get_args(Heads), f"the heads of a U-Net++ are {', '.join(get_args(Heads))}, got {heads!r}")
        require(min(in_channels, classes, base, depth) >= 1,
                f"channels, classes, base and depth of a U-Net++ are at least 1, got {in_channels}, {classes}, "
                f"{base}, {depth}")
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels, "classes": classes, "base": base, "depth": depth, "up": up,
            "batch_norm": batch_norm, "heads": heads, "dropout": dropout,
        }
        width = [base << row for row in range(depth + 1)]
        self.nodes, self.up = nn.ModuleDict(), nn.ModuleDict()
        for i, j in _grid(depth):
            above = width[i] if up == "deconv" else width[i + 1] if j else 0
            joined = j * width[i] + above if j else width[i - 1] if i else in_channels
            self.nodes[f"{i}_{j}"] = double_conv(joined, width[i], batch_norm, dropout)
            if j and up == "deconv":
                self.up[f"{i}_{j}"] = nn.ConvTranspose2d(width[i + 1], width[i], 2, stride=2)
        self.stretch = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=up == "corners")
        self.pool = nn.MaxPool2d(2)
        first = depth if heads == "one" else 1
        self.heads = nn.ModuleDict({str(j): nn.Conv2d(base, classes, 1) for j in range(first, depth + 1)})
        self.apply(he_normal)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.supervised(x).outputs
        return mean_of_heads(torch.stack(scores)) if self.arguments["heads"] == "accurate" else scores[-1]

    def supervised(self, x: torch.Tensor) -> Supervised:
        """Return the scores of each head, x01 first."""
        rows: list[list[torch.Tensor]] = []
        for i in range(self.arguments["depth"] + 1):
            rows.append([self.nodes[f"{i}_0"](self.pool(rows[-1][0]) if i else x)])
            for j in range(1, i + 1):
                row, below = rows[i - j], rows[i - j + 1][j - 1]
                row.append(self._node(i - j, j, row, below))
        return Supervised(tuple(head(rows[0][int(j)]) for j, head in self.heads.items()), None)

    def _node(self, i: int, j: int, row: list[torch.Tensor], below: torch.Tensor) -> torch.Tensor:
        deconv = self.arguments["up"] == "deconv"
        parts = [self.up[f"{i}_{j}"](below), *row] if deconv else [*row, self.stretch(below)]
        return self.nodes[f"{i}_{j}"](torch.cat(parts, 1))


def _grid(depth: int) -> list[tuple[int, int]]:
    """Return row and column of each node, in an order in which they can be computed."""
    return [(total - j, j) for total in range(depth + 1) for j in range(total + 1)]


def wide_unet(**arguments: Any) -> UNet:
    """Build a same-padded `tiler.models.UNet` of 35, 70, 140, 280 and 560 channels, with about the size of U-Net++.

    It has 9,282,246 parameters, as in the authors' repository; the paper prints 9.13 M.
    """
    return UNet(**{"base": 35, "classes": 1, "padding": "same", **arguments})
