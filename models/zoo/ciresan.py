"""Pixel classifiers in a sliding window: Ciresan et al. (2012), which the U-Net was compared with.

D. C. Ciresan, A. Giusti, L. M. Gambardella, J. Schmidhuber: Deep Neural Networks Segment Neuronal Membranes in
Electron Microscopy Images. NIPS 2012.
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
    """Sizes of one classifier: each kernel is followed by a 2x2 pooling, the last map by fully connected layers.

    Parameters
    ----------
    window
        Side of the patch.
    kernels
        Of the convolutions.
    last
        Side of the last map, which the fully connected layers see.
    """

    window: int
    kernels: tuple[int, ...]
    last: int

    @property
    def used(self) -> int:
        """Side of that part of the window which reaches the result."""
        size = self.last
        for kernel in reversed(self.kernels):
            size = 2 * size + kernel - 1
        return size


LAYOUTS = {"n4": Layout(95, (4, 5, 4, 4), 3), "n65": Layout(65, (5, 5, 5), 4)}


class SlidingWindowNet(nn.Module):
    """``(n, in_channels, y, x) -> (n, classes, y - used + 1, x - used + 1)`` float scores (logits).

    `forward` is the dense form: poolings without stride, everything behind them dilated, fully connected layers as
    dilated convolutions. `classify` is the published form, one patch at a time, from the same weights. They are
    equal, and the dense form is some 555 times less work for ``"n4"``.

    Parameters
    ----------
    in_channels, classes
        Channels of input and output.
    base
        Channels of every convolution; 48 as published.
    variant
        ``"n4"``: window 95, all of it used. ``"n65"``: window 65, an approximation, as the published layers of the
        65-pixel networks are not to be had; its poolings drop the last 5 pixels, so that 60 are used.
    activation
        ``"relu"`` or ``"tanh"``; the paper leaves it open, "relu" is the default [choice].
    hidden
        Units of the first fully connected layer.

    Notes
    -----
    A window's score belongs to the centre of what is used of it: pixel 47 of 95, pixel 30 of 65 [choice].
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
        """``(n, classes)`` scores of ``(n, in_channels, window, window)`` patches."""
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
    """``(n, in_channels, y, x) -> (n, classes, y - 2 depth, x - 2 depth)``: valid 3x3 convolutions, nothing pooled.

    The second baseline of the reviews, which say no more of it than this: eight layers of 48 channels [choice].

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
