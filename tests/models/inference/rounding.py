"""Networks that multiply in few bits, as tensor cores do: for the bound of TF32, which needs no GPU to be looked at."""

from __future__ import annotations

import torch
from torch import nn

MULTIPLYING = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def multiplying(module: nn.Module, bits: int) -> nn.Module:
    """The same network with weights and inputs of its layers rounded to that many bits of mantissa."""
    for layer in module.modules():
        if isinstance(layer, MULTIPLYING):
            layer.weight.requires_grad_(False).copy_(rounded(layer.weight, bits))
            layer.register_forward_pre_hook(lambda _, given: (rounded(given[0], bits),))
    return module


def rounded(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Float32 to nearest, ties to even."""
    dropped = 23 - bits
    whole = values.contiguous().view(torch.int32)
    whole = whole + (1 << (dropped - 1)) - 1 + ((whole >> dropped) & 1)
    return ((whole >> dropped) << dropped).view(torch.float32)
