"""Mix Transformer, the encoder of SegFormer.

References
----------
E. Xie et al., SegFormer (2021), section 3.1, 10.48550/arXiv.2105.15203.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
RATIO = 4
DEPTHS = {"b0": (2, 2, 2, 2), "b1": (2, 2, 2, 2), "b2": (3, 4, 6, 3), "b3": (3, 4, 18, 3), "b4": (3, 8, 27, 3),
          "b5": (3, 6, 40, 3)}


def base_of(variant: str) -> int:
    """Return the channels of an attention head; the stages of a variant have 1, 2, 5 and 8 heads."""
    return 32 if variant == "b0" else 64


class MixTransformer(nn.Module):
    """``(n, in_channels, y, x)`` -> four maps at 1/4, 1/8, 1/16 and 1/32; y and x multiples of 32.

    Parameters
    ----------
    in_channels
        Channels of the input.
    base
        Channels of the first stage; the others have 2, 5 and 8 times as many.
    depths
        Number of blocks in each stage.
    drop_path
        Probability of skipping the last block in training; it rises linearly from 0 at the first block.

    Notes
    -----
    Every position attends to all others, so no finite context is enough. Weights of linear layers are drawn from a
    normal distribution with standard deviation 0.02, truncated at -2 and 2; those of convolutions as in He et al.,
    with the fan-out.
    """

    def __init__(
        self, in_channels: int = 3, base: int = 32, depths: Sequence[int] = DEPTHS["b0"], drop_path: float = 0.1
    ) -> None:
        super().__init__()
        self.channels = [base * heads for heads in HEADS]
        inputs = [in_channels, *self.channels]
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").tolist()
        self.stages = nn.ModuleList()
        for number, (depth, heads, reduction) in enumerate(zip(depths, HEADS, REDUCTIONS, strict=True)):
            own, rates = rates[:depth], rates[depth:]
            embed = PatchEmbedding(inputs[number], self.channels[number], *((3, 2) if number else (7, 4)))
            self.stages.append(Stage(embed, heads, reduction, own))
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


class PatchEmbedding(nn.Module):
    """``(n, c, y, x) -> (n, channels, y / stride, x / stride)``: embed overlapping patches and normalise them."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(channels, eps=1e-5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return maps_of(self.norm(tokens_of(x)), x.shape)


class Stage(nn.Module):
    """A patch embedding, blocks and a final normalisation; maps are ``(n, c, y, x)``."""

    def __init__(self, embed: PatchEmbedding, heads: int, reduction: int, rates: Sequence[float]) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(Block(embed.channels, heads, reduction, rate) for rate in rates)
        self.norm = nn.LayerNorm(embed.channels, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        shape, tokens = x.shape, tokens_of(x)
        for block in self.blocks:
            tokens = block(tokens, shape)
        return maps_of(self.norm(tokens), shape)


class Block(nn.Module):
    """Attention, then a perceptron, each with a residual, on tokens ``(n, y x, c)`` of a map of the given shape."""

    def __init__(self, channels: int, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels, eps=1e-6), nn.LayerNorm(channels, eps=1e-6)
        self.attention, self.mlp = Attention(channels, heads, reduction), Mlp(channels)
        self.drop_path = drop_path

    def forward(self, x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        x = x + self._dropped(self.attention(self.norm1(x), shape))
        return x + self._dropped(self.mlp(self.norm2(x), shape))

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        """In training, set some images of a batch to 0 and scale the others to keep the mean."""
        if not self.training or not self.drop_path:
            return x
        kept = 1 - self.drop_path
        return x * x.new_empty(len(x), 1, 1).bernoulli_(kept) / kept


class Attention(nn.Module):
    """Attention of each position to all positions of a map that is coarser by ``reduction``."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.q, self.kv = nn.Linear(channels, channels), nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        if reduction > 1:
            self.coarser = nn.Conv2d(channels, channels, reduction, reduction)
            self.norm = nn.LayerNorm(channels, eps=1e-5)

    def forward(self, x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        seen = x
        if self.reduction > 1:
            seen = self.norm(tokens_of(self.coarser(maps_of(x, shape))))
        key, value = self.kv(seen).chunk(2, 2)
        found = F.scaled_dot_product_attention(self._split(self.q(x)), self._split(key), self._split(value))
        return self.project(found.transpose(1, 2).flatten(2))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """Reshape tokens to ``(n, heads, positions, channels of a head)``."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Mlp(nn.Module):
    """Two linear layers with a depth-wise 3x3 convolution in between, which encodes the positions of tokens."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = RATIO * channels
        self.first, self.second = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.near = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        x = tokens_of(self.near(maps_of(self.first(x), shape)))
        return self.second(F.gelu(x))


def tokens_of(maps: torch.Tensor) -> torch.Tensor:
    """Reshape maps ``(n, c, y, x)`` to tokens ``(n, y x, c)``."""
    return maps.flatten(2).transpose(1, 2)


def maps_of(tokens: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Reshape tokens ``(n, y x, c)`` to maps ``(n, c, y, x)``; y and x as in ``shape``."""
    return tokens.transpose(1, 2).unflatten(2, tuple(shape[2:]))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        outgoing = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / outgoing))
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
