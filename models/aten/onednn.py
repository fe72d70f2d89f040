"""Convolutions by oneDNN, called by name.

For a batch of one, torch uses oneDNN only if the input has more than about 20,000 elements, its last axis not counted.
Otherwise it uses its own kernel: 16 channels of 34 cubed run at 4 GFLOP/s on one thread, and at 125 with oneDNN.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int,
) -> torch.Tensor:
    """``(n, k, *size)``: the convolution of ``(n, c, *size)``, by oneDNN on processors in float32."""
    if not takes(x):
        return torch.convolution(x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)
    made: torch.Tensor = torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, stride, dilation, groups)
    return made


def takes(x: torch.Tensor) -> bool:
    """Whether `convolve` can use oneDNN for a tensor: float32 slices or volumes on a CPU with oneDNN."""
    return (x.device.type == "cpu" and x.dtype == torch.float32 and x.ndim in (4, 5) and x.numel() > 0
            and torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled))
