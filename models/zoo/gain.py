"""GAIN-ResNet-50: a classifier of whole images whose attention map is trained together with its scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from tiler.models.zoo.blocks import Supervised, require
from tiler.models.zoo.resnet import ResNet50


class Explained(NamedTuple):
    """A classification and its attention map.

    Parameters
    ----------
    scores
        ``(n, classes)`` float scores (logits).
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
    The review says that "the feature map before the fully connected layer" is compared with the mask of the lesion,
    but not how 2048 maps become one. Here it is Grad-CAM of the lesion's class [choice]: the rectified sum of the
    maps, weighted by the gradients of the score. With a global mean and a linear layer these gradients are the weights
    of the layer, up to a factor that the scaling to [0, 1] removes. The map is thus a closed formula, which has a
    gradient itself and needs no second pass.

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
        """Return the scores of images, and a map of the evidence for one class (the last by default)."""
        maps = self.body(x)
        attention = torch.einsum("nchw,c->nhw", maps, self.fc.weight[category])[:, None].relu()
        return Explained(self.fc(self.pool(maps).flatten(1)), _unit_range(attention))

    def supervised(self, x: torch.Tensor) -> Supervised:
        """Return the attention, interpolated to the size of the image, and the scores."""
        explained = self.explain(x)
        spread = nn.functional.interpolate(explained.attention, size=x.shape[2:], mode="bilinear", align_corners=False)
        return Supervised((spread,), explained.scores)


def _unit_range(attention: torch.Tensor) -> torch.Tensor:
    """Shift and scale each map to [0, 1]; a constant map becomes 0."""
    low, high = attention.amin((2, 3), keepdim=True), attention.amax((2, 3), keepdim=True)
    return (attention - low) / (high - low).clamp(min=torch.finfo(attention.dtype).eps)
