"""The fully convolutional networks of Long, Shelhamer and Darrell (2015), 10.1109/CVPR.2015.7298965."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from tiler.models.zoo.alexnet import AlexNet
from tiler.models.zoo.bilinear import BilinearUpsampling
from tiler.models.zoo.blocks import he_normal, require
from tiler.models.zoo.bodies import widths
from tiler.models.zoo.googlenet import GoogLeNet
from tiler.models.zoo.vgg import VGG16

Body = Literal["vgg16", "alexnet", "googlenet"]


@dataclass(frozen=True, slots=True)
class Head:
    """Geometry of the upsampling from scores to the resolution of the input.

    Parameters
    ----------
    kernel
        Side of the last transposed convolution.
    crop
        Offset of the input in the output of that convolution, in pixels.
    fused
        Offset of the upsampled scores in those of each finer map, coarse to fine.
    """

    kernel: int
    crop: int
    fused: tuple[int, ...] = ()


_BODIES: dict[str, type[nn.Module]] = {"vgg16": VGG16, "alexnet": AlexNet, "googlenet": GoogLeNet}
_HEADS = {
    ("vgg16", 32): Head(64, 19),
    ("vgg16", 16): Head(32, 27, (5,)),
    ("vgg16", 8): Head(16, 31, (5, 9)),
    ("alexnet", 32): Head(63, 18),
    ("googlenet", 32): Head(63, 1),
}
_AT_ONCE = (1e-2, 1e-4)


class FCN(nn.Module):
    """``(n, in_channels, y, x) -> (n, classes, y, x)`` float scores (logits), for any y and x.

    Parameters
    ----------
    body
        ``"vgg16"``, ``"alexnet"`` or ``"googlenet"``.
    stride
        32 upsamples the scores of the last layer; 16 and 8 (VGG-16 only) first add those of pool4, and of pool3.
    in_channels, classes
        Channels of input and output.
    base
        Width of the body; 64 gives the published widths, smaller values scale all of them.
    at_once
        Whether pool4 is scaled by 0.01 and pool3 by 0.0001, so that all three streams can be trained together.
    learned
        Whether the upsampling before a sum is learned, as in the paper; the last one never is. The authors' later
        definitions fix all of them.
    frozen_body
        Whether only the score layer is trained ("FCN-32s-fixed").

    Notes
    -----
    The first convolution pads by 100 (VGG-16, AlexNet), and crops align the output with the input. No definition with
    GoogLeNet was published: this one drops the average pooling and the classifiers, keeps a padding of 3 and uses the
    kernel of AlexNet's head, since an even kernel would be off by half a pixel [choice].

    Score layers start at zero, all others as in He et al. Published weights came from classifiers whose fully
    connected layers were reshaped to the convolutions fc6 and fc7.

    References
    ----------
    J. Long, E. Shelhamer, T. Darrell: Fully Convolutional Networks for Semantic Segmentation. CVPR 2015.
    doi:10.1109/CVPR.2015.7298965
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 21,
        base: int = 64,
        *,
        body: Body = "vgg16",
        stride: int = 32,
        at_once: bool = False,
        learned: bool = False,
        frozen_body: bool = False,
    ) -> None:
        super().__init__()
        require((body, stride) in _HEADS, f"there are FCN-32s of vgg16, alexnet and googlenet, and FCN-16s and 8s of "
                                          f"vgg16, got {body!r} with stride {stride}")
        require(min(in_channels, classes, base) >= 1,
                f"channels, classes and base of an FCN are at least 1, got {in_channels}, {classes}, {base}")
        require(body != "alexnet" or base % 4 == 0, f"an FCN of alexnet needs a base that 4 divides, got {base}")
        self.arguments: dict[str, Any] = {
            "in_channels": in_channels, "classes": classes, "base": base, "body": body, "stride": stride,
            "at_once": at_once, "learned": learned, "frozen_body": frozen_body,
        }
        self.geometry = _HEADS[body, stride]
        network: Any = _BODIES[body](in_channels, base)
        self.body: nn.Module = network
        self.body.apply(he_normal).requires_grad_(not frozen_body)
        *finer, top = widths(base, network.CHANNELS) if body != "googlenet" else [network.channels]
        self.score = _score(top, classes)
        fused = finer[::-1][:len(self.geometry.fused)]
        self.score_finer = nn.ModuleList(_score(channels, classes) for channels in fused)
        self.up = nn.ModuleList(BilinearUpsampling(classes, 4, 2, learned) for _ in fused)
        self.last = BilinearUpsampling(classes, self.geometry.kernel, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        *finer, top = self.body(x)
        scores = self.score(top)
        scales = _AT_ONCE if self.arguments["at_once"] else (1.0, 1.0)
        for up, score, crop, scale in zip(self.up, self.score_finer, self.geometry.fused, scales, strict=False):
            scores = up(scores)
            scores = scores + _crop(score(finer.pop() * scale), crop, scores.shape[2:])
        return _crop(self.last(scores), self.geometry.crop, size)


def _score(channels: int, classes: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, classes, 1)
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _crop(x: torch.Tensor, start: int, size: Sequence[int]) -> torch.Tensor:
    return x[:, :, start:start + size[0], start:start + size[1]]
