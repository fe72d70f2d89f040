"""ESFPNet: a stage-wise feature pyramid on a Mix Transformer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tiler.models.zoo.blocks import conv_norm_relu, require
from tiler.models.zoo.mit import DEPTHS, MixTransformer, base_of


class ESFPNet(nn.Module):
    """``(n, in_channels, y, x) -> (n, classes, y, x)`` float scores (logits); y and x multiples of 32.

    The decoder predicts linearly at every stage and, from coarse to fine, joins each prediction with the coarser one::

        stage 4   linear ------------------------------------.
        stage 3   linear - join with 4 - linear --------------+
        stage 2   linear - join with 34 - linear -------------+-- all at 1/4, one 1x1 convolution, x4
        stage 1   linear - join with 23 - linear -------------'

    Parameters
    ----------
    in_channels, classes
        Channels of input and output.
    base
        Channels of the first stage; None takes those of the variant, 32 for B0 and 64 for the others.
    variant
        ``"b0"`` to ``"b5"``: depth of the encoder. ESFPNet-T is b0, S is b2 and L is b4.
    align_corners
        Whether the last interpolation, by 4, aligns corners, as in the authors' code; the others do not.

    Notes
    -----
    No tiling is exact, because attention is global and aligned corners depend on the size of the image. The authors
    resize frames to 352 x 352 and take probabilities above 0.5.

    References
    ----------
    Q. Chang et al.: ESFPNet: Efficient Stage-Wise Feature Pyramid on Mix Transformer for Deep Learning-Based
    Cancer Analysis in Endoscopic Video. Journal of Imaging 10 (2024). doi:10.3390/jimaging10080191
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1,
        base: int | None = None,
        *,
        variant: str = "b0",
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        require(variant in DEPTHS, f"a Mix Transformer is one of {', '.join(DEPTHS)}, got {variant!r}")
        base = base_of(variant) if base is None else base
        require(min(in_channels, classes, base) >= 1,
                f"channels, classes and base of an ESFPNet are at least 1, got {in_channels}, {classes}, {base}")
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels, "classes": classes, "base": base, "variant": variant,
            "align_corners": align_corners,
        }
        self.encoder = MixTransformer(in_channels, base, DEPTHS[variant])
        width = self.encoder.channels
        self.predict = nn.ModuleList(nn.Conv2d(channels, channels, 1) for channels in width)
        self.join = nn.ModuleList(
            conv_norm_relu(fine + coarse, fine, 1) for fine, coarse in pairwise(width))
        self.predict_joined = nn.ModuleList(nn.Conv2d(channels, channels, 1) for channels in width[:-1])
        self.head = nn.Conv2d(sum(width), classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *finer, joined = (predict(maps) for predict, maps in zip(self.predict, self.encoder(x), strict=True))
        levels = [joined]
        for fine, join, predict in zip(finer[::-1], self.join[::-1], self.predict_joined[::-1], strict=True):
            joined = predict(join(torch.cat([fine, _larger(joined, 2)], 1)))
            levels.insert(0, joined)
        scores = self.head(torch.cat([_larger(level, 2**number) for number, level in enumerate(levels)], 1))
        return _larger(scores, 4, self.arguments["align_corners"])


def _larger(x: torch.Tensor, factor: int, align_corners: bool = False) -> torch.Tensor:
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=align_corners)
