"""UNet 3+ of Huang et al. (2020), 10.48550/arXiv.2004.08790."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tiler.models.zoo.blocks import Supervised, double_conv, he_normal, require

ABSENT = -1e4
"""Offset of the scores of an empty image; its sigmoid is 0, and it is finite, in every floating-point format."""


class UNet3Plus(nn.Module):
    """``(n, in_channels, y, x) -> (n, classes, y, x)`` float scores (logits); y and x multiples of ``2^depth``.

    Each level of the decoder joins ``depth + 1`` branches of ``base`` channels, one for each scale: finer and equal
    scales come from the encoder (max-pooled), coarser ones from the decoder (interpolated).

    Parameters
    ----------
    in_channels, classes
        Channels of input (published: three adjacent slices) and output.
    base
        Channels of the encoder's first level, and of each branch.
    depth
        Number of poolings.
    deep_supervision
        Whether each level of the decoder has a head (a 3x3 convolution) for training; `forward` returns the finest.
    classification
        Whether a small classifier on the deepest level (the guidance module) decides if anything is there at all. If
        not, all classes but a background class (the first of several) get probability 0.

    Notes
    -----
    Guidance takes a global maximum, so the network is exact in stages. It should multiply probabilities by 0 or
    1; the authors' code multiplies scores instead, which makes an empty slice 0.5 everywhere. Here scores are lowered
    by `ABSENT`, whose sigmoid is 0. A tie counts as absent. Guidance acts on `forward` only, because it has no
    gradient and a wrong "absent" would keep the decoder from learning [choice]. As published, bilinear interpolation
    does not align corners.

    References
    ----------
    H. Huang et al.: UNet 3+: A Full-Scale Connected UNet for Medical Image Segmentation. ICASSP 2020.
    doi:10.48550/arXiv.2004.08790
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1,
        base: int = 64,
        depth: int = 4,
        *,
        deep_supervision: bool = False,
        classification: bool = False,
    ) -> None:
        super().__init__()
        require(min(in_channels, classes, base, depth) >= 1,
                f"channels, classes, base and depth of a UNet 3+ are at least 1, got {in_channels}, {classes}, "
                f"{base}, {depth}")
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels, "classes": classes, "base": base, "depth": depth,
            "deep_supervision": deep_supervision, "classification": classification,
        }
        width = [base << level for level in range(depth + 1)]
        joined = [base * (depth + 1)] * depth + [width[-1]]
        self.encoder = nn.ModuleList(
            double_conv(a, b, batch_norm=True) for a, b in zip([in_channels, *width], width, strict=False))
        self.branches = nn.ModuleList(
            nn.ModuleList(_conv(width[j] if j <= i else joined[j], base) for j in range(depth + 1))
            for i in range(depth))
        self.fuse = nn.ModuleList(_conv(joined[0], joined[0]) for _ in range(depth))
        heads = joined if deep_supervision else joined[:1]
        self.heads = nn.ModuleList(nn.Conv2d(channels, classes, 3, padding=1) for channels in heads)
        self.classifier = _classifier(width[-1]) if classification else None
        self.apply(he_normal)
        self.apply(_noisy_gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels = self._levels(x)
        scores = self.heads[0](levels[0])
        if self.classifier is None:
            return scores
        presence = self._presence(levels[-1])
        absent = (presence[:, 1:] <= presence[:, :1]).to(scores.dtype)[..., None, None]
        offset = torch.zeros_like(scores[:, :, :1, :1])
        offset[:, 0 if scores.shape[1] == 1 else 1:] = ABSENT
        return scores + absent * offset

    def supervised(self, x: torch.Tensor) -> Supervised:
        """Return the scores of each head at full resolution, and the presence scores."""
        levels = self._levels(x)
        sides = [head(level) for head, level in zip(self.heads, levels, strict=False)]
        outputs = tuple(_resized(side, -level) for level, side in enumerate(sides))
        return Supervised(outputs, None if self.classifier is None else self._presence(levels[-1]))

    def _levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps of the decoder, finest first; the last one is the deepest map of the encoder."""
        encoded = []
        for level, encode in enumerate(self.encoder):
            x = encode(F.max_pool2d(x, 2) if level else x)
            encoded.append(x)
        levels = list(encoded)  # from coarse to fine, maps of the decoder replace those of the encoder
        for i in reversed(range(len(encoded) - 1)):
            sources = [*encoded[:i + 1], *levels[i + 1:]]
            parts = [branch(_resized(source, i - j))
                     for j, (branch, source) in enumerate(zip(_listed(self.branches[i]), sources, strict=True))]
            levels[i] = self.fuse[i](torch.cat(parts, 1))
        return levels

    def _presence(self, deepest: torch.Tensor) -> torch.Tensor:
        assert self.classifier is not None
        return self.classifier(deepest)


def _classifier(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(0.5), nn.Conv2d(channels, 2, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten())


def _conv(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1), nn.BatchNorm2d(channels),
                         nn.ReLU(inplace=True))


def _resized(x: torch.Tensor, levels_down: int) -> torch.Tensor:
    """Max-pool a map by this many levels, or interpolate it up if the number is negative."""
    if levels_down > 0:
        return F.max_pool2d(x, 2**levels_down, ceil_mode=True)
    if levels_down < 0:
        return F.interpolate(x, scale_factor=float(2**-levels_down), mode="bilinear", align_corners=False)
    return x


def _noisy_gain(module: nn.Module) -> None:
    """Draw the gain of batch norm from N(1, 0.02), as in the authors' code."""
    if isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def _listed(modules: nn.Module) -> list[nn.Module]:
    assert isinstance(modules, nn.ModuleList)
    return list(modules)
