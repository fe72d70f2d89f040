"""GAIN-ResNet-50: a classifier whose attention map is trained beside its answer."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from tiler.models.zoo.blocks import Supervised, require
from tiler.models.zoo.resnet import ResNet50


class Explained(NamedTuple):
    """A classification with its reason.

    Parameters
    ----------
    scores
        ``(n, classes)``.
    attention
        ``(n, 1, y / 32, x / 32)`` in [0, 1].
    """

    scores: torch.Tensor
    attention: torch.Tensor


class GAINResNet50(nn.Module):
    """``(n, in_channels, y, x) -> (n, classes)`` float scores (logits) of whole images, 224 x 224 as published.

    Parameters
    ----------
    in_channels, classes
        Channels of the input, number of classes; the last one is the lesion.
    base
        Channels of the stem.

    Notes
    -----
    The review says that "the feature map before the fully connected layer" is compared with the lesion's mask,
    not how 2048 maps become one. Chosen is Grad-CAM of the lesion's class: the rectified sum of the maps,
    weighted by the gradient of its score. Behind a global mean and one linear layer that gradient is the layer's
    weight, up to a factor which the scaling to [0, 1] removes. So the map is a closed formula, has a gradient
    itself, and needs no second pass.

    References
    ----------
    K. Li, Z. Wu, K.-C. Peng, J. Ernst, Y. Fu: Tell Me Where to Look: Guided Attention Inference Network. CVPR
    2018. doi:10.48550/arXiv.1802.10171
    """

    def __init__(self, in_channels: int = 3, classes: int = 2, base: int = 64) -> None:
        super().__init__()
        require(min(in_channels, classes, base) >= 1,
                f"channels, classes and base of a GAIN-ResNet-50 are at least 1, got {in_channels}, {classes}, {base}")
        self.arguments: dict[str, Any] = {"in_channels": in_channels, "classes": classes, "base": base}
        self.body = ResNet50(in_channels, base)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.body.channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(self.body(x)).flatten(1))

    def explain(self, x: torch.Tensor, category: int = -1) -> Explained:
        """Scores of an image, and where what speaks for a class lies."""
        maps = self.body(x)
        attention = torch.einsum("nchw,c->nhw", maps, self.fc.weight[category])[:, None].relu()
        return Explained(self.fc(self.pool(maps).flatten(1)), _unit_range(attention))

    def supervised(self, x: torch.Tensor) -> Supervised:
        """Its attention on the grid of the image, and its scores."""
        explained = self.explain(x)
        spread = nn.functional.interpolate(explained.attention, size=x.shape[2:], mode="bilinear", align_corners=False)
        return Supervised((spread,), explained.scores)

    def position_scores(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, classes, y / 32, x / 32)``: the linear layer at every position; the mean over them is `forward`."""
        weight = self.fc.weight[:, :, None, None]
        return nn.functional.conv2d(self.body(x), weight, self.fc.bias)


def _unit_range(attention: torch.Tensor) -> torch.Tensor:
    """Every map shifted and scaled to [0, 1]; one that is the same everywhere becomes 0."""
    low, high = attention.amin((2, 3), keepdim=True), attention.amax((2, 3), keepdim=True)
    return (attention - low) / (high - low).clamp(min=torch.finfo(attention.dtype).eps)
