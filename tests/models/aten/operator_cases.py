"""Calls of every operator of the table, with options drawn at random."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from spatial_cases import (
    ALIGNED,
    adaptive,
    avg_pool,
    case,
    convolution,
    image,
    max_pool,
    pad,
    pad_by_value,
    resize,
)

aten = torch.ops.aten


UNARY = """
    abs atan ceil celu clone cos cosh elu erf exp expm1 floor gelu hardshrink hardsigmoid hardswish hardtanh
    isinf isnan leaky_relu logical_not log_sigmoid_forward mish nan_to_num neg reciprocal relu round sgn sigmoid
    sign silu sin sinh softplus softshrink sqrt tan tanh trunc acos asin log log10 log1p log2 rsqrt
"""
BINARY = """
    add atan2 div fmod maximum minimum mul remainder rsub sub xlogy eq ne lt le gt ge logical_and logical_or
    logical_xor floor_divide pow _prelu_kernel
"""
REDUCTIONS = """
    mean sum amax amin max min argmax argmin std var prod logsumexp norm linalg_vector_norm any all median
"""
ALONG = "_softmax _log_softmax _safe_softmax cumsum cumprod logcumsumexp"
BITWISE = ["bitwise_and", "bitwise_or", "bitwise_xor"]


def _unary(name):
    return lambda random: case(random, lambda x: getattr(aten, name)(x.abs() / 2 + 0.1)[0] if name.startswith("log_sig")
                               else getattr(aten, name)(x.abs() / 8 + 0.1).to(x.dtype))


def _binary(name):
    def make(random):
        shape = image(random, 2)
        other = random.choice([(4, 1, 1), (1, 1, 1), shape[1:], (1, 1, shape[3])])
        if name == "_prelu_kernel":
            other = (1, 4, 1, 1)
        return case(random, lambda x, w: getattr(aten, name)(x.abs() + 1, w.abs() + 1).to(x.dtype), other, shape=shape)
    return make


def _bitwise(name):
    return lambda random: case(random, lambda x: getattr(aten, name)(x > 0, x.flip(1) > 0).to(x.dtype))


def _both(function):
    """Of a tensor and another one that varies as well."""
    return lambda random: case(random, lambda x: function(x, x.flip(1)))


def view(random):
    z, y, x = (2 * random.randint(2, 4) for _ in range(3))
    shapes = [(1, 4, z * y * x), (1, 2, 2, z, y // 2, 2, x), (4 * z, y, x), (1, 4 * z, y * x // 2, 2),
              (1, 4, z, 1, y, x), (4, z // 2, 2 * y * x), (1, 4 * z * y * x)]
    shape = random.choice(shapes)
    return case(random, lambda t: t.reshape(shape), shape=(1, 4, z, y, x))


def permute(random):
    order = random.sample(range(4), 4)
    return case(random, lambda x: x.permute(order), shape=image(random, 2))


def transpose(random):
    first, second = random.sample(range(-4, 4), 2)
    return case(random, lambda x: aten.transpose(x, first, second), shape=image(random, 2))


def slices(random):
    dim, start, step = random.randint(-4, -1), random.randint(-6, 3), random.randint(1, 3)
    return case(random, lambda x: aten.slice(x, dim, start if dim != -4 else 0, 9999, step), shape=image(random, 2, 8))


def select(random):
    dim, place = random.randint(1, 3), random.randint(-4, 3)
    return case(random, lambda x: aten.select(x, dim, place), shape=image(random, 2))


def cat(random):
    dim = random.randint(1, 3)
    return case(random, lambda x, w: torch.cat([x, w.expand_as(x), x.flip(2)], dim), (1, 4, 1, 1),
                shape=image(random, 2))


def repeat(random):
    times = [random.randint(1, 3) for _ in range(random.choice((4, 5)))]
    return case(random, lambda x: x.repeat(times), shape=image(random, 2))


def flip(random):
    dims = random.sample(range(1, 4), random.randint(1, 3))
    return case(random, lambda x: x.flip(dims), shape=image(random, 2))


def roll(random):
    dims = random.sample(range(1, 4), random.randint(1, 3))
    shifts = [random.randint(-9, 9) for _ in dims]
    return case(random, lambda x: x.roll(shifts, dims), shape=image(random, 2))


def pixel_shuffle(random):
    factor = random.choice((2, 3))
    return case(random, lambda x: aten.pixel_shuffle(x, factor), shape=image(random, 2, 4, 2 * factor**2))


def pixel_unshuffle(random):
    factor = random.choice((2, 3))
    return case(random, lambda x: aten.pixel_unshuffle(x, factor),
                shape=(1, 2, factor * random.randint(3, 6), factor * random.randint(3, 6)))


def unfold(random):
    dim, size, step = random.randint(2, 3), random.randint(1, 4), random.randint(1, 4)
    return case(random, lambda x: x.unfold(dim, size, step), shape=image(random, 2))


def channel_shuffle(random):
    return case(random, lambda x: aten.channel_shuffle(x, 3), shape=image(random, 2, channels=12))


def batch_norm(random):
    training = random.random() < 0.5

    def function(x, w, b, mean, var):
        return F.batch_norm(x, None if training else mean, None if training else var.abs() + 0.5, w, b, training)
    return case(random, function, (4,), (4,), (4,), (4,))


def group_norm(random):
    groups = random.choice((1, 2, 4))
    affine = random.random() < 0.5
    return case(random, lambda x, w, b: F.group_norm(x, groups, *((w, b) if affine else (None, None))), (4,), (4,))


def layer_norm(random):
    shape = image(random, 2)
    last = shape[3:] if random.random() < 0.5 else shape[2:]
    return case(random, lambda x, w, b: F.layer_norm(x, last, w, b), last, last, shape=shape)


def _along(name):
    def make(random):
        dim = random.randint(-3, 3)
        extra = (False,) if "softmax" in name and name != "_safe_softmax" else ()
        return case(random, lambda x: getattr(aten, name)(x, dim, *extra), shape=image(random, 2))
    return make


def _reduce(name):
    def make(random):
        dims, keep = random.sample(range(1, 4), random.randint(1, 3)), random.random() < 0.5
        one = random.choice((1, 2, 3, -1))

        special = {
            "max": lambda x: torch.max(x, one, keep)[0] if keep else torch.max(x),
            "min": lambda x: torch.min(x, one, keep)[0] if keep else torch.min(x),
            "median": torch.median,
            "any": lambda x: aten.any(x > 0, one, keep).to(x.dtype),
            "all": lambda x: aten.all(x > 0, one, keep).to(x.dtype),
            "std": lambda x: aten.std.correction(x, dims, correction=0, keepdim=keep),
            "var": lambda x: aten.var.correction(x, dims, correction=0, keepdim=keep),
            "norm": lambda x: aten.norm.ScalarOpt_dim(x, 2, dims, keep),
            "linalg_vector_norm": lambda x: aten.linalg_vector_norm(x, 2, dims, keep),
            **{each: lambda x: getattr(torch, name)(x, one, keepdim=keep).to(x.dtype)
               for each in ("argmax", "argmin", "prod")},
        }
        function = special.get(name, lambda x: getattr(aten, name)(x, dims, keep))
        return case(random, function, shape=image(random, 2))
    return make


def _tokens(function, *weights):
    return lambda random: case(random, function, *weights, shape=(1, 4, random.randint(4, 9), 6))


CASES = {
    **{name: _unary(name) for name in UNARY.split()},
    **{name: _binary(name) for name in BINARY.split()},
    **{name: _bitwise(name) for name in BITWISE},
    "bitwise_not": lambda random: case(random, lambda x: torch.bitwise_not(x > 0).to(x.dtype)),
    "logit": _both(lambda x, y: aten.logit(x.sigmoid())),
    "threshold": _both(lambda x, y: aten.threshold(x, 0.1, 0.2)),
    "clamp": _both(lambda x, y: aten.clamp(x, -0.5, 0.5)),
    "clamp_min": _both(lambda x, y: aten.clamp_min(x, 0.1)),
    "clamp_max": _both(lambda x, y: aten.clamp_max(x, 0.1)),
    "addcmul": _both(lambda x, y: aten.addcmul(x, y, x, value=0.5)),
    "addcdiv": _both(lambda x, y: aten.addcdiv(x, y, x.abs() + 1, value=0.5)),
    "lerp": _both(lambda x, y: aten.lerp(x, y, 0.3)),
    "where": _both(lambda x, y: torch.where(x > 0, y, x)),
    "masked_fill": _both(lambda x, y: x.masked_fill(y > 0, 0.5)),
    "_to_copy": _both(lambda x, y: x.to(torch.float32).to(x.dtype)),
    "lift_fresh_copy": _both(lambda x, y: aten.lift_fresh_copy(x)),
    "copy": _both(lambda x, y: torch.empty_like(x).copy_(y[:, :1])),
    "full": _both(lambda x, y: torch.cat([torch.zeros_like(x), torch.full_like(x, 2.0), y], 1)),
    "expand": lambda random: case(random, lambda x: x[:, :1].expand(1, 3, *x.shape[2:])),
    "convolution": convolution,
    "max_pool2d_with_indices": max_pool(2),
    "max_pool3d_with_indices": max_pool(3),
    "avg_pool2d": avg_pool(2), "avg_pool3d": avg_pool(3),
    "_adaptive_avg_pool2d": adaptive(2, F.adaptive_avg_pool2d),
    "_adaptive_avg_pool3d": adaptive(3, F.adaptive_avg_pool3d),
    "adaptive_max_pool2d": adaptive(2, F.adaptive_max_pool2d),
    "adaptive_max_pool3d": adaptive(3, F.adaptive_max_pool3d),
    "upsample_nearest1d": resize("nearest", 1), "upsample_nearest2d": resize("nearest", 2),
    "upsample_nearest3d": resize("nearest", 3),
    "_upsample_nearest_exact1d": resize("nearest-exact", 1), "_upsample_nearest_exact2d": resize("nearest-exact", 2),
    "_upsample_nearest_exact3d": resize("nearest-exact", 3),
    "upsample_linear1d": resize("linear", 1, **ALIGNED), "upsample_bilinear2d": resize("bilinear", 2, **ALIGNED),
    "upsample_trilinear3d": resize("trilinear", 3, **ALIGNED), "upsample_bicubic2d": resize("bicubic", 2, **ALIGNED),
    **{f"{kind}_pad{axes}d": pad(axes, mode) for axes in (1, 2, 3)
       for kind, mode in (("reflection", "reflect"), ("replication", "replicate"))},
    "constant_pad_nd": pad_by_value,
    "view": view, "permute": permute, "transpose": transpose, "slice": slices, "select": select, "cat": cat,
    "t": lambda random: case(random, lambda x: aten.t(x[0, 0]), shape=image(random, 2)),
    "repeat": repeat, "flip": flip, "roll": roll, "pixel_shuffle": pixel_shuffle, "pixel_unshuffle": pixel_unshuffle,
    "unfold": unfold, "channel_shuffle": channel_shuffle,
    "native_batch_norm": batch_norm, "native_group_norm": group_norm, "native_layer_norm": layer_norm,
    "_native_batch_norm_legit": lambda random: case(random, lambda x, w, b: aten._native_batch_norm_legit.no_stats(
        x, w, b, True, 0.1, 1e-3)[0], (4,), (4,)),
    "_native_batch_norm_legit_no_training": lambda random: case(
        random, lambda x, w, b: aten._native_batch_norm_legit_no_training(x, w, b, b, w.abs(), 0.1, 1e-3)[0],
        (4,), (4,)),
    "_batch_norm_no_update": lambda random: case(
        random, lambda x, w, b: aten._batch_norm_no_update(x, w, b, b, w.abs(), 0.1, 1e-3)[0], (4,), (4,)),
    **{name: _along(name) for name in ALONG.split()},
    **{name: _reduce(name) for name in REDUCTIONS.split()},
    "mm": _tokens(lambda x, w: torch.mm(x[0, 0], w), (6, 5)),
    "bmm": _tokens(lambda x: torch.bmm(x[0], x[0].transpose(1, 2).flip(1))),
    "addmm": _tokens(lambda x, w, b: torch.addmm(b, x[0, 0], w, beta=0.5, alpha=2.0), (6, 5), (5,)),
    "baddbmm": _tokens(lambda x, b: torch.baddbmm(b, x[0], x[0].transpose(1, 2)), (4, 1, 1)),
    "_scaled_dot_product_flash_attention_for_cpu": _tokens(
        lambda x: aten._scaled_dot_product_flash_attention_for_cpu(x, x.flip(2), x * 2)[0]),
}
"""By name of the operator that each of them calls."""
