"""Interpolation, at the coordinates of the whole tensor, computed as torch computes them.

If sizes grow by whole factors, torch's fast interpolation of a part gives the same values. All other cases, aligned
corners included, are gathered and weighted along one axis after the other, from tables of the whole axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tiler.models.aten.graph import Node
from tiler.models.aten.maps import Along, Axes, Ranges, Table
from tiler.models.aten.rule import Part, Rule, cut, operator

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, eq=False)
class Taps:
    """Along one axis: output ``o`` is the sum of input ``index[k, o]`` times ``weight[k, o]`` over the taps ``k``."""

    index: np.ndarray
    weight: np.ndarray

    @property
    def table(self) -> Table:
        return Table(self.index.min(0), self.index.max(0))


@operator("""
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d
""")
def resize(node: Node) -> Rule:
    count = next(int(letter) for letter in reversed(node.op) if letter.isdigit())
    lead = len(node.shape) - count
    sizes, outs = node.sizes[0][lead:], node.shape[lead:]
    scales = _scales(node, count)
    taps = [_taps(node, *args) for args in zip(sizes, outs, scales, strict=True)]
    axes = [Along(axis) for axis in range(lead)] + [Along(lead + at, tap.table) for at, tap in enumerate(taps)]
    factors = _whole_factors(node, sizes, outs, scales)
    if factors is not None:
        return Rule((Axes(tuple(axes), node.sizes[0]),), lambda part: _torch_resize(part, factors))
    return Rule((Axes(tuple(axes), node.sizes[0]),), lambda part: _weighted(part, lead, taps))


def _scales(node: Node, count: int) -> list[float | None]:
    """The factors that the network passes, one per axis; None where they follow from the sizes."""
    given: Any = node.args.get("scale_factors")
    if given is None:
        names = ("scales",) if "scales" in node.args else ("scales_d", "scales_h", "scales_w")[3 - count :]
        given = [node.args.get(name) for name in names]
    return [None if factor is None or factor <= 0 else float(factor) for factor in given]


def _whole_factors(
    node: Node, sizes: tuple[int, ...], outs: tuple[int, ...], scales: list[float | None]
) -> list[int] | None:
    """Growth factor of every axis, if all are whole numbers and torch interpolates parts to the same values."""
    if node.args.get("align_corners", False) or "bicubic" in node.op or "exact" in node.op:
        return None
    factors = [out // size for size, out in zip(sizes, outs, strict=True)]
    alike = all(size * factor == out and (scale is None or scale == factor)
                for size, out, factor, scale in zip(sizes, outs, factors, scales, strict=True))
    return factors if alike else None


def _torch_resize(part: Part, factors: list[int]) -> torch.Tensor:
    read, count = part.reads[0], len(factors)
    assert read is not None
    have: Ranges = (*read[:-count], *((low * by, high * by) for (low, high), by in
                                      zip(read[-count:], factors, strict=True)))
    mode = "nearest" if "nearest" in part.node.op else _MODES[count]
    made = F.interpolate(part.first, scale_factor=[float(by) for by in factors], mode=mode)
    return cut(made, have, part.made)


def _weighted(part: Part, lead: int, taps: list[Taps]) -> torch.Tensor:
    x, read = part.first, part.reads[0]
    assert read is not None
    for axis, each in enumerate(taps, lead):
        low, high = part.made[axis]
        index, weight = each.index[:, low:high] - read[axis][0], each.weight[:, low:high]
        shape = [-1 if place == axis else 1 for place in range(x.ndim)]
        total: torch.Tensor | None = None
        for rows, shares in zip(index, weight, strict=True):
            picked = x.index_select(axis, torch.from_numpy(rows).to(x.device))
            if len(index) > 1:
                picked = picked.mul_(torch.from_numpy(shares).to(x).reshape(shape))
            total = picked if total is None else total.add_(picked)
        assert total is not None
        x = total
    return x


def _taps(node: Node, size: int, out: int, scale: float | None) -> Taps:
    """Taps of one axis, in the dtype in which torch computes coordinates; float32 rounds distant ones differently."""
    kind: Any = np.float64 if node.dtype == torch.float64 else np.float32
    at: Any = np.arange(out).astype(kind)
    if "nearest" in node.op:
        return _nearest(node, size, out, scale)
    if node.args.get("align_corners", False):
        place = at * kind((size - 1) / (out - 1) if out > 1 else 0)
    else:
        step = kind(1 / scale) if scale else kind(size) / kind(out)
        place = step * (at + kind(0.5)) - kind(0.5)
        if "bicubic" not in node.op:
            place = place.clip(0)
    below = np.floor(place)
    part = place - below
    if "bicubic" in node.op:
        return _cubic(below.astype(np.int64), part, size)
    low = below.astype(np.int64).clip(0, size - 1)
    return Taps(np.stack([low, (low + 1).clip(0, size - 1)]), np.stack([1 - part, part]))


def _nearest(node: Node, size: int, out: int, scale: float | None) -> Taps:
    """Taps of nearest neighbours; torch computes their coordinates in float32 for every dtype."""
    step = np.float32(1 / scale) if scale else np.float32(size) / np.float32(out)
    at = np.arange(out).astype(np.float32)
    place = np.floor((at + np.float32(0.5)) * step if "exact" in node.op else at * step)
    index = place.astype(np.int64).clip(0, size - 1)
    return Taps(index[None], np.ones((1, out)))


def _cubic(below: np.ndarray, part: np.ndarray, size: int) -> Taps:
    """Four taps of the cubic kernel with a = -0.75, clipped at the borders."""
    a = -0.75

    def near(x: np.ndarray) -> np.ndarray:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: np.ndarray) -> np.ndarray:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    weights = np.stack([far(part + 1), near(part), near(1 - part), far(2 - part)])
    return Taps(np.stack([(below + k).clip(0, size - 1) for k in (-1, 0, 1, 2)]), weights)
