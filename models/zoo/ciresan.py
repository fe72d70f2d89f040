"""Pixel classifiers with a sliding window, to which the U-Net was compared.

References
----------
D. C. Ciresan, A. Giusti, L. M. Gambardella, J. Schmidhuber, Deep Neural Networks Segment Neuronal Membranes in
Electron Microscopy Images, NIPS 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from tiler.models.zoo.blocks import he_normal, require

Variant = Literal["n4", "n65"]
Activation = Literal["tanh", "relu"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of a classifier. A 2x2 pooling follows each convolution, fully connected layers follow the last map.

    Parameters
    ----------
    window
        Side of the patch in pixels.
    kernels
        Sides of the convolutions' kernels.
    last
        Side of the last map, the input of the fully connected layers.
    """

    window: int
    kernels: tuple[int, ...]
    last: int

    @property
    def used(self) -> int:
        """Side of the part of the window that influences the result."""
        # n4: 3 -> 2 * 3 + 4 - 1 = 9 -> 21 -> 46 -> 95
        size = self.last
        for kernel in reversed(self.kernels):
            size = 2 * size + kernel - 1
        return size


LAYOUTS = {"n4": Layout(95, (4, 5, 4, 4), 3), "n65": Layout(65, (5, 5, 5), 4)}


class SlidingWindowNet(nn.Module):
    """``(n, in_channels, y, x) -> (n, classes, y - used + 1, x - used + 1)`` float scores (logits).

    `forward` is the dense form: poolings have no stride, later layers are dilated, and fully connected layers are
    dilated convolutions. `classify` is the published form, one patch at a time, with the same weights. Both give
    the same scores; for ``"n4"`` the dense form takes 555 times less work.

    Parameters
    ----------
    in_channels, classes
        Channels of input and output.
    base
        Channels of every convolution; 48 as published.
    variant
        ``"n4"``: a window of 95 pixels, all of them used. ``"n65"``: a window of 65, an approximation, since the
        layers of the published 65-pixel networks are not available; its poolings drop the last 5 pixels, so 60 count.
    activation
        ``"relu"`` or ``"tanh"``; the paper does not say which [choice].
    hidden
        Units of the first fully connected layer.

    Notes
    -----
    A score belongs to the centre of the used part of its window: pixel 47 of 95, pixel 30 of 65 [choice].
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        base: int = 48,
        *,
        variant: Variant = "n4",
        activation: Activation = "relu",
        hidden: int = 200,
    ) -> None:
        super().__init__()
        require(variant in LAYOUTS, f"a sliding-window network is {' or '.join(LAYOUTS)}, got {variant!r}")
        require(activation in get_args(Activation), f"an activation is tanh or relu, got {activation!r}")
        require(min(in_channels, classes, base, hidden) >= 1,
                f"channels, classes, base and hidden units of a sliding-window network are at least 1, got "
                f"{in_channels}, {classes}, {base}, {hidden}")
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels, "classes": classes, "base": base, "variant": variant,
            "activation": activation, "hidden": hidden,
        }
        self.layout = LAYOUTS[variant]
        inputs = [in_channels] + [base] * (len(self.layout.kernels) - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, base, kernel) for before, kernel in zip(inputs, self.layout.kernels, strict=True))
        self.connected = nn.ModuleList([nn.Conv2d(base, hidden, self.layout.last), nn.Conv2d(hidden, classes, 1)])
        self.act = nn.ReLU() if activation == "relu" else nn.Tanh()
        self.apply(he_normal)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dilation = 1
        for layer in _convolutions(self.convolutions):
            x = self.act(F.conv2d(x, layer.weight, layer.bias, dilation=dilation))
            x = F.max_pool2d(x, 2, stride=1, dilation=dilation)
            dilation *= 2
        return self._connected(x, dilation)

    def classify(self, patches: torch.Tensor) -> torch.Tensor:
        """Return the scores ``(n, classes)`` of patches ``(n, in_channels, window, window)``."""
        x = patches
        for layer in self.convolutions:
            x = F.max_pool2d(self.act(layer(x)), 2)
        return self._connected(x, 1).flatten(1)

    def _connected(self, x: torch.Tensor, dilation: int) -> torch.Tensor:
        first, second = _convolutions(self.connected)
        return second(self.act(F.conv2d(x, first.weight, first.bias, dilation=dilation)))


def _convolutions(layers: nn.ModuleList) -> list[nn.Conv2d]:
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)]


class FullResolutionNet(nn.Module):
    """``(n, in_channels, y, x) -> (n, classes, y - 2 depth, x - 2 depth)``: valid 3x3 convolutions without pooling.

    This is the second baseline of the reviews, which give no layers: eight layers of 48 channels [choice].

    Parameters
    ----------
    in_channels, classes
        Channels of input and output.
    base
        Channels of every layer.
    depth
        Number of 3x3 layers; a score sees ``2 depth + 1`` pixels along either axis.
    """

    def __init__(self, in_channels: int = 1, classes: int = 2, base: int = 48, depth: int = 8) -> None:
        super().__init__()
        require(min(in_channels, classes, base, depth) >= 1,
                f"channels, classes, base and depth of a network are at least 1, got {in_channels}, {classes}, "
                f"{base}, {depth}")
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels, "classes": classes, "base": base, "depth": depth}
        layers: list[nn.Module] = []
        for before, after in pairwise([in_channels] + [base] * depth):
            layers += [nn.Conv2d(before, after, 3), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(base, classes, 1))
        self.apply(he_normal)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)
