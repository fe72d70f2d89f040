"""Networks with weights that let everything through, so that a comparison of two ways to run them says something."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from tiler.models.aten.modules import quiet


def random_copy(module: nn.Module, seed: int) -> nn.Module:
    """Return a float64 copy in evaluation mode with He-normal weights, so that no layer is zero.

    Running statistics are drawn, too; other buffers keep their values.

    References
    ----------
    K. He et al., Delving Deep into Rectifiers (2015), equation 10, 10.1109/ICCV.2015.123.
    """
    generator = torch.Generator().manual_seed(seed)
    with quiet(), torch.no_grad():
        twin = copy.deepcopy(module).cpu().double().eval()
        for layer in twin.modules():
            for name, weight in layer.named_parameters(recurse=False):
                weight.copy_(_drawn(layer, name, weight, generator))
        for name, buffer in twin.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                noise = 0.1 * torch.randn(buffer.shape, generator=generator, dtype=torch.float64)
                buffer.copy_(1 + noise.abs() if name.endswith("running_var") else noise)
    return twin


def _drawn(layer: nn.Module, name: str, weight: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    if weight.ndim < 2:
        return 0.1 * noise + (0 if name.endswith("bias") else 1)
    incoming = weight[0].numel()
    if getattr(layer, "original_name", type(layer).__name__).startswith("ConvTranspose"):
        # (in, out / groups, *kernel): an output meets only every stride-th tap. A traced layer does not know its
        # stride; its taps are assumed not to overlap.
        stride = getattr(layer, "stride", weight.shape[2:])
        incoming = weight[:, 0].numel() // (math.prod(stride) * getattr(layer, "groups", 1))
    return noise * math.sqrt(2 / max(1, incoming))
