"""CA-U-Net: a U-Net with attention on its skips and an atrous pyramid at its deepest level."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tiler.models.zoo.aspp import ASPP
from tiler.models.zoo.blocks import he_normal, require
from tiler.models.zoo.cbam import CBAM
from tiler.models.zoo.unet import UNet


class CAUNet(UNet):
    """``(n, in_channels, y, x) -> (n, classes, y, x)`` float scores (logits); y and x multiples of ``2^depth``.

    Parameters
    ----------
    in_channels, classes
        Channels of input and output.
    base
        Channels of the first level.
    depth
        Number of poolings.
    rates
        Dilations of the pyramid.
    reduction
        Factor by which the hidden layer of a channel gate is narrower.
    dropout
        See `tiler.models.UNet`.

    Notes
    -----
    The paper could not be obtained. A review describes a U-Net with CBAM and ASPP, trained with cross-entropy, but
    not their places, rates and channels. Chosen here: a same-padded U-Net with batch normalisation, a CBAM on each
    skip, and at the deepest level an ASPP as in DeepLabv3 with ``4 base`` channels per branch, projected to the
    ``16 base`` of that level. The encoder has no gates.

    References
    ----------
    S. Woo et al., CBAM (2018), 10.48550/arXiv.1807.06521.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 2,
        base: int = 64,
        depth: int = 4,
        *,
        rates: Sequence[int] = (6, 12, 18),
        reduction: int = 16,
        dropout: float = 0.0,
    ) -> None:
        require(len(rates) > 0 and min(rates) >= 1 and reduction >= 1,
                f"rates and reduction of a CA-U-Net are at least 1, got {list(rates)} and {reduction}")
        super().__init__(in_channels, classes, base, depth, "same", batch_norm=True, dropout=dropout)
        self.arguments = {
            "in_channels": in_channels, "classes": classes, "base": base, "depth": depth, "rates": list(rates),
            "reduction": reduction, "dropout": dropout,
        }
        self.gates = torch.nn.ModuleList(CBAM(base << level, reduction) for level in range(depth))
        self.pyramid = ASPP(base << depth, base << depth, 4 * base, rates)
        self.gates.apply(he_normal)
        self.pyramid.apply(he_normal)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips: list[torch.Tensor] = []
        for encode, gate, pool in zip(self.enc, self.gates, self.pool, strict=False):
            x = encode(x)
            skips.append(gate(x))
            x = pool(x)
        x = self.pyramid(self.drop(self.enc[-1](x)))
        for up, decode in zip(self.up, self.dec, strict=True):
            x = decode(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)
