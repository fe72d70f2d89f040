"""Calls of convolutions, poolings, interpolation and padding, with options drawn at random."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Calls(nn.Module):
    """A network that is one function of an image and some weights."""

    def __init__(self, function, *weights):
        super().__init__()
        self.kind = nn.Parameter(torch.zeros((), dtype=torch.float64), requires_grad=False)
        self.function = function
        self.weights = nn.ParameterList([nn.Parameter(weight, requires_grad=False) for weight in weights])

    def forward(self, x):
        return self.function(x, *self.weights)


def case(random, function, *weights, shape=None):
    """A network, and the shape of an input for it."""
    if shape is None:
        shape = (1, 4, *(random.randint(5, 12) for _ in range(random.choice((2, 3)))))
    return Calls(function, *(torch.randn(*size, dtype=torch.float64) for size in weights)), shape


def image(random, axes, least=6, channels=4):
    return (1, channels, *(random.randint(least, 13) for _ in range(axes)))


def convolution(random):
    axes, groups = random.choice((1, 2, 3)), random.choice((1, 2))
    kernel = [random.randint(1, 3) for _ in range(axes)]
    stride, dilation = ([random.randint(1, 3) for _ in range(axes)] for _ in range(2))
    transposed = random.random() < 0.5
    padding = [random.randint(0, d * (k - 1)) for k, d in zip(kernel, dilation, strict=True)]
    if random.random() < 0.2:
        padding = [3] * axes
    if transposed:
        padding = [min(p, 2) for p in padding]
    extra = [random.randint(0, max(s, d) - 1) if transposed else 0 for s, d in zip(stride, dilation, strict=True)]
    weight = (4, 3, *kernel) if transposed else (6, 4 // groups, *kernel)
    bias = (3 * groups if transposed else 6,)

    def function(x, w, b):
        return torch.convolution(x, w, b if bias[0] % 4 else None, stride, padding, dilation, transposed, extra, groups)
    return case(random, function, weight, bias, shape=image(random, axes, 8))


def max_pool(axes):
    def make(random):
        kernel = random.randint(1, 4)
        options = {"stride": random.choice((None, 1, 2, 3)), "padding": random.randint(0, kernel // 2),
                   "dilation": random.choice((1, 2)), "ceil_mode": random.random() < 0.5}
        pool = {2: F.max_pool2d, 3: F.max_pool3d}[axes]
        return case(random, lambda x: pool(x, kernel, **options), shape=image(random, axes, 9))
    return make


def avg_pool(axes):
    def make(random):
        kernel = [random.randint(1, 4) for _ in range(axes)]
        options = {"stride": random.choice((None, 1, 2, 3)), "padding": [random.randint(0, k // 2) for k in kernel],
                   "ceil_mode": random.random() < 0.5, "count_include_pad": random.random() < 0.5}
        if axes > 1:
            options["divisor_override"] = random.choice((None, 3))
        pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[axes]
        return case(random, lambda x: pool(x, kernel, **options), shape=image(random, axes, 9))
    return make


def adaptive(axes, pool):
    return lambda random: case(random, lambda x: pool(x, list(sizes(axes))),
                               shape=image(random, axes))


def sizes(axes):
    return (3, 5, 2)[:axes]


def resize(mode, axes, **options):
    def make(random):
        shape = image(random, axes, 3)
        kind = random.choice(("size", "factor", "whole"))
        if kind == "size":
            given = {"size": [random.randint(2, 25) for _ in range(axes)]}
        elif kind == "factor":
            given = {"scale_factor": random.choice((0.5, 1.5, 2.5, 1.37)),
                     "recompute_scale_factor": random.choice((None, True))}
        else:
            given = {"scale_factor": float(random.randint(1, 4))}
        chosen = {key: random.choice(value) for key, value in options.items()}
        return case(random, lambda x: F.interpolate(x, mode=mode, **given, **chosen), shape=shape)
    return make


ALIGNED = {"align_corners": (False, True)}


def pad(axes, mode):
    def make(random):
        pads = [random.randint(0, 4) for _ in range(2 * axes)]
        return case(random, lambda x: F.pad(x, pads, mode=mode), shape=image(random, axes))
    return make


def pad_by_value(random):
    pads = [random.randint(-2, 4) for _ in range(2 * random.randint(1, 3))]
    return case(random, lambda x: F.pad(x, pads, value=0.5), shape=image(random, 2))
