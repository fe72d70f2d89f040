"""The operators of ONNX that depend on neighbours or whole axes; see `tiler.models.loading.foreign.operators`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tiler.models.loading.foreign.operators import Attributes, Value, integers, like, not_read, operator

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAXIMA = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_MEANS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def _pads(attributes: Attributes, x: torch.Tensor, kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Padding before and after, on each axis."""
    n = x.ndim - 2
    mode = attributes.get("auto_pad", b"NOTSET")
    if mode in (b"NOTSET", b"VALID"):
        both = list(attributes.get("pads", [0] * 2 * n)) if mode == b"NOTSET" else [0] * 2 * n
        return both[:n], both[n:]
    strides, dilations = (attributes.get(name, [1] * n) for name in ("strides", "dilations"))
    low, high = [], []
    for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + dilation * (k - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        low.append(small if mode == b"SAME_UPPER" else large)
        high.append(large if mode == b"SAME_UPPER" else small)
    return low, high


def _padded(x: torch.Tensor, low: Sequence[int], high: Sequence[int], value: float) -> torch.Tensor:
    return F.pad(x, [side for pair in reversed(list(zip(low, high, strict=True))) for side in pair], value=value)


@operator("Conv")
def _conv(attributes: Attributes, x: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> Sequence[Value]:
    n = x.ndim - 2
    low, high = _pads(attributes, x, weight.shape[2:])
    if low != high:
        x, low = _padded(x, low, high, 0.0), [0] * n
    return [_CONVOLUTIONS[n](x, weight, bias, attributes.get("strides", 1), low, attributes.get("dilations", 1),
                             attributes.get("group", 1))]


@operator("ConvTranspose")
def _conv_transpose(attributes: Attributes, x: torch.Tensor, weight: torch.Tensor, bias: Any = None
                    ) -> Sequence[Value]:
    n = x.ndim - 2
    pads = list(attributes.get("pads", [0] * 2 * n))
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or "output_shape" in attributes or pads[:n] != pads[n:]:
        raise not_read("a transposed convolution with automatic or uneven padding")
    return [_TRANSPOSED[n](x, weight, bias, attributes.get("strides", 1), pads[:n],
                           attributes.get("output_padding", 0), attributes.get("group", 1),
                           attributes.get("dilations", 1))]


@operator("MaxPool")
def _max_pool(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    n, kernel = x.ndim - 2, attributes["kernel_shape"]
    low, high = _pads(attributes, x, kernel)
    if low != high:
        x, low = _padded(x, low, high, -torch.inf), [0] * n
    return [_MAXIMA[n](x, kernel, attributes.get("strides", [1] * n), low, attributes.get("dilations", 1),
                       bool(attributes.get("ceil_mode", 0)))]


@operator("AveragePool")
def _average_pool(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    n, kernel = x.ndim - 2, attributes["kernel_shape"]
    low, high = _pads(attributes, x, kernel)
    counted = bool(attributes.get("count_include_pad", 0))
    if (low != high and not counted) or set(attributes.get("dilations", [1])) != {1}:
        raise not_read("a mean over dilated or unevenly padded windows")
    if low != high:
        x, low = _padded(x, low, high, 0.0), [0] * n
    return [_MEANS[n](x, kernel, attributes.get("strides", [1] * n), low, bool(attributes.get("ceil_mode", 0)),
                      counted)]


@operator("GlobalAveragePool")
def _global_mean(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    return [x.mean(tuple(range(2, x.ndim)), keepdim=True)]


@operator("GlobalMaxPool")
def _global_max(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    return [x.amax(tuple(range(2, x.ndim)), keepdim=True)]


def _reduction(function: Callable[..., torch.Tensor]) -> Callable[..., Sequence[Value]]:
    def reduced(attributes: Attributes, x: torch.Tensor, axes: Value | None = None) -> Sequence[Value]:
        chosen = attributes.get("axes") if axes is None else integers(axes)
        return [function(x, tuple(chosen or range(x.ndim)), keepdim=bool(attributes.get("keepdims", 1)))]
    return reduced


operator("ReduceMean")(_reduction(torch.mean))
operator("ReduceSum")(_reduction(torch.sum))
operator("ReduceMax")(_reduction(torch.amax))
operator("ReduceMin")(_reduction(torch.amin))


@operator("BatchNormalization")
def _batch_norm(attributes: Attributes, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor,
                mean: torch.Tensor, var: torch.Tensor) -> Sequence[Value]:
    return [F.batch_norm(x, mean, var, weight, bias, False, 0.0, attributes.get("epsilon", 1e-5))]


@operator("InstanceNormalization")
def _instance_norm(attributes: Attributes, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
                   ) -> Sequence[Value]:
    return [F.instance_norm(x, weight=weight, bias=bias, eps=attributes.get("epsilon", 1e-5))]


@operator("LayerNormalization")
def _layer_norm(attributes: Attributes, x: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> Sequence[Value]:
    axis = attributes.get("axis", -1)
    return [F.layer_norm(x, x.shape[axis:], weight, bias, attributes.get("epsilon", 1e-5))]


@operator("Gemm")
def _gemm(attributes: Attributes, a: torch.Tensor, b: torch.Tensor, c: Any = None) -> Sequence[Value]:
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    result = attributes.get("alpha", 1.0) * (a @ like(b, a))
    return [result if c is None else result + attributes.get("beta", 1.0) * like(c, a)]


@operator("Resize", "Upsample")
def _resize(attributes: Attributes, x: torch.Tensor, *rest: Any) -> Sequence[Value]:
    """Inputs are (roi, scales, sizes) from opset 11 on, (scales) before."""
    if attributes.get("antialias", 0) or attributes.get("exclude_outside", 0) or "axes" in attributes:
        raise not_read("a resize with antialiasing, or of chosen axes")
    given = [*(None if value is None or not np.size(value) else value for value in rest), None, None]
    scales, sizes = (given[0], None) if attributes["opset"] < 11 else (given[1], given[2])
    factors = _factors(attributes, scales)
    mode, corners = _interpolation(attributes, x.ndim - 2, factors)
    if factors is None:
        return [F.interpolate(x, size=integers(sizes)[2:], mode=mode, align_corners=corners)]
    return [F.interpolate(x, scale_factor=factors, mode=mode, align_corners=corners, recompute_scale_factor=False)]


def _factors(attributes: Attributes, scales: Any) -> list[float] | None:
    """Growth factor of each axis; None if the size is computed anew for every input."""
    if scales is not None:
        return [float(each) for each in np.asarray(scales)[2:]]
    return attributes["growth"]


def _interpolation(attributes: Attributes, n: int, factors: list[float] | None) -> tuple[str, bool | None]:
    """Torch's mode and alignment.

    If the image grows by whole factors, all rules for the nearest voxel of half-pixel centres agree.
    """
    default = b"asymmetric" if attributes["opset"] < 11 else b"half_pixel"
    centres = attributes.get("coordinate_transformation_mode", default)
    mode, nearest = attributes.get("mode", b"nearest"), attributes.get("nearest_mode", b"round_prefer_floor")
    half = centres in (b"half_pixel", b"pytorch_half_pixel")
    if mode == b"linear" and (half or centres == b"align_corners"):
        return _LINEAR[n], not half
    if mode == b"cubic" and n == 2 and attributes.get("cubic_coeff_a", -0.75) == -0.75:
        return "bicubic", not half
    grows = factors is not None and all(factor.is_integer() for factor in factors)
    if mode == b"nearest" and half and grows and nearest.startswith(b"round"):
        return "nearest", None
    doubles = nearest == b"round_prefer_floor" and all(factor in (1, 2) for factor in factors or (0,))
    floors = attributes["opset"] < 11 or nearest == b"floor" or doubles
    if mode == b"nearest" and centres == b"asymmetric" and floors:
        return "nearest", None
    raise not_read(f"a resize by {mode.decode()} with {centres.decode()} and {nearest.decode()}")
