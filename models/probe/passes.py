"""Passes before the last one, for networks with global means or maxima."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tiler.geometry import Footprint, Reach
from tiler.models.probe.call import elements
from tiler.models.probe.graph import UNIFORM, Node, Offence, Trace, axes_of
from tiler.models.probe.inject import Cells, How, Site

_EXTREMES: dict[str, How] = {"max": "max", "amax": "max", "min": "min", "amin": "min", "sum": "sum"}


@dataclass(frozen=True, slots=True)
class Pass:
    """Global layers that can be reduced together.

    Parameters
    ----------
    footprint
        Context of the layers' cells over (z, y, x); tiles are congruent to those of the network.
    sites
        Calls of the layers.
    """

    footprint: Footprint
    sites: tuple[Site, ...]


def partly_global(trace: Trace) -> list[Offence]:
    """Find layers that reduce some axes of the image and keep others; their result is not a number but a line."""
    found = []
    for number in trace.globals_:
        node = trace.nodes[number]
        if axes_of(node.dims) or len(trace.global_axes(number)) < trace.ndim:
            why = f"its {node.op} reduces some axes of the image and keeps others"
            found.append(Offence(node.layer, "global", why))
    return found


def passes_of(trace: Trace, plain: Footprint) -> tuple[Pass, ...]:
    """Return the passes before the last one, in order.

    Parameters
    ----------
    trace
        Trace in phase; its global layers are means, sums, maxima or minima over the whole image.
    plain
        Footprint of the last pass, over (z, y, x).
    """
    return tuple(_pass(trace, plain, level) for level in trace.levels())


def _pass(trace: Trace, plain: Footprint, places: Sequence[int]) -> Pass:
    own = plain.axes[3 - trace.ndim:]
    sites, needs = [], [(0, 0)] * trace.ndim
    for place in places:
        parent = trace.nodes[trace.globals_[place]].edges[0].parent
        axes = tuple(_cells(trace, axis, parent, reach.shrink_low) for axis, reach in enumerate(own))
        sites.append(_site(trace, place, axes))
        near = [_needed(trace, axis, parent, cells, reach.stride)
                for axis, (cells, reach) in enumerate(zip(axes, own, strict=True))]
        needs = [(max(a, c), max(b, d)) for (a, b), (c, d) in zip(needs, near, strict=True)]
    rounded = [_rounded(reach, *need) for reach, need in zip(own, needs, strict=True)]
    return Pass(Footprint.of([*plain.axes[:3 - trace.ndim], *rounded]), tuple(sites))


def _site(trace: Trace, place: int, axes: tuple[Cells, ...]) -> Site:
    number = trace.globals_[place]
    node, (call, over) = trace.nodes[number], trace.sites[place]
    parent = trace.nodes[node.edges[0].parent]
    layout = tuple(tuple((None if atom.axis == UNIFORM else atom.axis, atom.size) for atom in dim)
                   for dim in parent.dims)
    return Site(call, _how(node), over, layout, axes, elements(node.dims))


def _how(node: Node) -> How:
    if node.op in _EXTREMES:
        return _EXTREMES[node.op]
    return "max" if "max_pool" in node.op else "mean"


def _cells(trace: Trace, axis: int, number: int, drops: int) -> Cells:
    """Locate the cells of a map; half of the dropped voxels lie before its first cell, rounded to whole cells."""
    node, size = trace.nodes[number], trace.sizes[axis]
    scale = node.scale[axis]
    count = next(atom.size for dim in node.dims for atom in dim if atom.axis == axis)
    before = Fraction(size - count * scale) / 2
    origin = drops + round((before - drops) / scale.numerator) * scale.numerator
    return Cells(scale.numerator, scale.denominator, origin, size, count)


def _needed(trace: Trace, axis: int, number: int, cells: Cells, stride: int) -> tuple[int, int]:
    """Return the context of the cells of one stride."""
    found = trace.reach(axis, 0, stride * cells.cells // cells.voxels - 1, number)
    low, high = found or (cells.origin, cells.origin + stride - 1)
    return cells.origin - low, high + 1 - cells.origin - stride


def _rounded(own: Reach, low: int, high: int) -> Reach:
    """Round a context to the phase and the legal sizes of the last pass."""
    low, high = max(low, own.shrink_low), max(high, own.shrink_high)
    low += (own.low - low) % own.stride
    high += (own.low + own.high - low - high) % own.stride
    return Reach(low, high, own.shrink_low, own.shrink_high, own.stride)
