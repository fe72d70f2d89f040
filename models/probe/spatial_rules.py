"""Rules for operators that work along the axes of the image: convolution, pooling, padding, interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from tiler.models.probe.call import Call, Derived, NotUnderstoodError, numbers, plain, resized, single_axis
from tiler.models.probe.graph import Dim, Evenness, axes_of
from tiler.models.probe.maps import SAME, WHOLE, Map, Resample, Spread, Window
from tiler.models.probe.rules import rule

_LARGEST_ADAPTIVE = 16
"""Adaptive poolings with larger windows count as global."""


def _moved(call: Call, name: str, steps: Sequence[Map], channels: bool = False) -> Derived:
    """Apply a map to each of the last dimensions of an argument, and optionally replace the channels."""
    number, node = call.source(name)
    shape = call.outputs[0].shape
    first = len(shape) - len(steps)
    maps: dict[int, Map] = {}
    tail = []
    for dim, size, step in zip(node.dims[first:], shape[first:], steps, strict=True):
        axis = single_axis(dim)
        if axis is not None:
            maps[axis] = step
        tail.append(resized(dim, size))
    head = node.dims[:first]
    if channels:
        head = (*head[:-1], plain(shape[first - 1]))
    return Derived((*head, *tail), [(number, maps)], "global", "mixes an axis of the image as if it were channels")


def _note_stride(call: Call, dim: Dim, size: int, window: Window, padding: int, out: int) -> None:
    """Record whether a strided window drops anything at its far end."""
    axis = single_axis(dim)
    if axis is None or window.stride == 1:
        return
    strict = (size + 2 * padding - window.span - 1) % window.stride == 0
    call.strided.append(Evenness(axis, strict, strict or out * window.stride == size))


def _windows(call: Call, name: str, kernel: Any, count: int) -> list[Window]:
    """Return the windows of a convolution or pooling, and record its strides."""
    _, node = call.source(name)
    kernels = numbers(kernel, count)
    strides = numbers(call.args.get("stride") or kernel, count)
    paddings = numbers(call.args["padding"], count)
    dilations = numbers(call.args.get("dilation", 1), count)
    sizes = call.args[name].shape[-count:]
    outs = call.outputs[0].shape[-count:]
    found = []
    for dim, k, s, p, d, size, out in zip(node.dims[-count:], kernels, strides, paddings, dilations, sizes, outs,
                                          strict=True):
        window = Window(s, p, d * (k - 1))
        _note_stride(call, dim, size, window, p, out)
        call.padded |= p > 0
        found.append(window)
    return found


@rule("convolution", "_convolution")
def convolution(call: Call) -> list[Derived]:
    weight = call.args["weight"]
    if call.node_of(weight) is not None:
        raise NotUnderstoodError("its weights come from the input")
    kernel = list(weight.shape[2:])
    if not call.args["transposed"]:
        return [_moved(call, "input", _windows(call, "input", kernel, len(kernel)), channels=True)]
    count = len(kernel)
    options = [numbers(call.args[key], count) for key in ("stride", "padding", "dilation")]
    steps = [Spread(s, p, d, k) for s, p, d, k in zip(*options, kernel, strict=True)]
    return [_moved(call, "input", steps, channels=True)]


@rule("max_pool1d", "max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool2d", "max_pool3d",
      "avg_pool1d", "avg_pool2d", "avg_pool3d")
def pooling(call: Call) -> list[Derived]:
    _, node = call.source()
    count = next(int(c) for c in call.op if c.isdigit())
    kernel = numbers(call.args["kernel_size"], count)
    sizes = list(call.args["self"].shape[-count:])
    if kernel == sizes and any(axes_of([dim]) for dim in node.dims[-count:]):
        return _reduced(call, count)
    return [_moved(call, "self", _windows(call, "self", kernel, count))]


def _reduced(call: Call, count: int) -> list[Derived]:
    """Pooling over the whole of the last dimensions."""
    number, node = call.source()
    dims = (*node.dims[:-count], *(plain(size) for size in call.outputs[0].shape[-count:]))
    return [Derived(dims, [(number, {})], "global", "pools its whole input")]


@rule("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d",
      "adaptive_max_pool2d", "adaptive_max_pool3d")
def adaptive_pooling(call: Call) -> list[Derived]:
    number, node = call.source()
    outs = [int(size) for size in call.args["output_size"]]
    count = len(outs)
    if all(out == 1 for out in outs):
        return _reduced(call, count)
    sizes = call.args["self"].shape[-count:]
    if any(size % out or size // out > _LARGEST_ADAPTIVE for size, out in zip(sizes, outs, strict=True)):
        dims = (*node.dims[:-count], *(plain(out) for out in outs))
        return [Derived(dims, [(number, {})], "global", f"pools its whole input to {outs}")]
    steps = [Window(size // out, 0, size // out - 1) for size, out in zip(sizes, outs, strict=True)]
    return [_moved(call, "self", steps)]


@rule("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
      "replication_pad1d", "replication_pad2d", "replication_pad3d")
def padding(call: Call) -> list[Derived]:
    """Reflection differs from other padding only at the border, so it has the same maps."""
    _, node = call.source()
    pads = list(call.args["pad" if "pad" in call.args else "padding"])
    before = pads[0::2][::-1]  # torch counts from the last dimension
    call.padded |= any(p > 0 and axes_of([dim]) for p, dim in zip(pads[0::2], node.dims[::-1], strict=False))
    return [_moved(call, "self", [Window(1, int(p)) for p in before])]


_NEIGHBOURS = {"nearest": (0, 0), "_nearest_exact": (0, 0), "linear": (0, 1), "bilinear": (0, 1),
               "trilinear": (0, 1), "bicubic": (1, 2)}


@rule(*(f"upsample_{mode}{n}d" for mode, n in [("nearest", 1), ("nearest", 2), ("nearest", 3), ("linear", 1),
                                               ("bilinear", 2), ("trilinear", 3), ("bicubic", 2)]),
      "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d")
def interpolation(call: Call) -> list[Derived]:
    mode = "_nearest_exact" if call.op.startswith("_") else call.op.removeprefix("upsample_")[:-2]
    count = int(call.op[-2])
    sizes = call.args["self"].shape[-count:]
    outs = call.outputs[0].shape[-count:]
    corners = call.args.get("align_corners") or False
    if corners and any(1 < size != out > 1 for size, out in zip(sizes, outs, strict=True)):
        call.offend("position", "align_corners=True: where it samples depends on the size of its input")
    _, node = call.source()
    steps: list[Map] = []
    for at, (dim, size, out) in enumerate(zip(node.dims[-count:], sizes, outs, strict=True)):
        factor = _factor(call, at)
        ratio = 1 / factor if factor and not corners else Fraction(size, out)
        if (axis := single_axis(dim)) is not None:
            call.strided.append(Evenness(axis, out * ratio == size, out * ratio == size))
        copied = size == out and mode != "bicubic"  # torch takes the same element twice then
        steps.append(SAME if copied else _resample(mode, ratio))
    return [_moved(call, "self", steps)]


def _resample(mode: str, ratio: Fraction) -> Resample:
    shift = {"nearest": Fraction(0), "_nearest_exact": ratio / 2}.get(mode, ratio / 2 - Fraction(1, 2))
    return Resample(ratio, shift, *_NEIGHBOURS[mode])


def _factor(call: Call, at: int) -> Fraction | None:
    """Return the scale factor of an interpolation along one axis, or None if it was given a size."""
    listed = call.args.get("scale_factors")
    names = ("scales_d", "scales_h", "scales_w")[-int(call.op[-2]):]
    value = listed[at] if listed else call.args.get(names[at], call.args.get("scales"))
    return None if value is None else Fraction(value).limit_denominator(4096)


@rule("pixel_shuffle")
def pixel_shuffle(call: Call) -> list[Derived]:
    ratio = Fraction(1, call.args["upscale_factor"])
    return [_moved(call, "self", [Resample(ratio), Resample(ratio)], channels=True)]


@rule("pixel_unshuffle")
def pixel_unshuffle(call: Call) -> list[Derived]:
    factor = call.args["downscale_factor"]
    return [_moved(call, "self", [Window(factor, 0, factor - 1)] * 2, channels=True)]


@rule("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_fused_attention_overrideable",
      "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
      "_scaled_dot_product_attention_math", "scaled_dot_product_attention")
def attention(call: Call) -> list[Derived]:
    """Each query depends on all keys."""
    number, query = call.source("query")
    meets: dict[int, Map] = dict.fromkeys(axes_of([query.dims[-2]]), WHOLE)
    others = [n for name in ("key", "value") if (n := call.node_of(call.args[name])) is not None]
    return [Derived((*query.dims[:-1], plain(call.outputs[0].shape[-1])),
                    [(number, {}), *((n, meets) for n in others)], "global",
                    "every position meets every other (attention)")]
