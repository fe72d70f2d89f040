"""Derive a footprint from traces: legal sizes, stride, context on both sides, alignment.

A tile that starts at voxel ``-shrink_low`` of the volume writes from voxel 0 on, and all other tiles differ from it by
whole strides. The context of a core is therefore that of the output ``[0, stride)`` of a pass. It is found by walking
index maps back to the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from torch import nn

from tiler.geometry import Footprint, Reach
from tiler.models.probe.graph import Offence, Trace, axes_of
from tiler.models.probe.report import Context, Exactness
from tiler.models.probe.sizes import trace_in_phase
from tiler.ports import Border

_ONE_SLICE = Reach(0, 0, 0, 0, 1)
"""Footprint along z of a 2-D network, whose tiles are one slice thick."""


@dataclass(frozen=True, slots=True)
class Derivation:
    """Result of the derivation.

    Parameters
    ----------
    footprint, context
        Footprint over (z, y, x), rounded and unrounded; None if there is none. Layers that look at the whole input
        do not count.
    exactness, border, out_channels, offending
        See `ProbeReport`.
    swallows
        Layers that may turn NaN into finite values.
    """

    footprint: Footprint | None
    context: Context | None
    exactness: Exactness
    border: Border
    out_channels: int
    offending: tuple[Offence, ...]
    swallows: tuple[Offence, ...]


def derive(module: nn.Module, in_channels: int, ndim: int = 2) -> Derivation:
    """Find the footprint of a network from the operators that it runs.

    Parameters
    ----------
    module
        ``(n, in_channels, *size) -> (n, classes, *size')``; a Module or ScriptModule. It is not changed.
    in_channels
        Channels of the input.
    ndim
        Axes of the input: 2 for (y, x), 3 for (z, y, x).

    Raises
    ------
    ModelError
        The network runs at none of the sizes that were tried.
    OutputShapeError
        The network returns anything but a single tensor.
    """
    trace, trace_of = trace_in_phase(module, in_channels, ndim)
    if trace.output is None or not axes_of(trace.nodes[trace.output].dims):
        return _whole(trace)
    strides = [trace.stride(axis) for axis in range(ndim)]
    larger = trace_of(tuple(size + step for size, step in zip(trace.sizes, strides, strict=True)))
    offences = [*_causes(trace.offences), *_size_dependence(trace, larger)]
    if trace.unequal:
        offences.append(Offence("the network", "size", "joins parts of different resolution at every size"))
    wrong = _wrong_output(trace)
    if wrong is not None:
        return Derivation(None, None, "STAGES", "mirror", trace.shape[1], (wrong, *offences), tuple(trace.swallows))
    found = [(_ONE_SLICE, (0, 0))] * (3 - ndim) + [_axis(trace, axis) for axis in range(ndim)]
    footprint = Footprint.of([reach for reach, _ in found])
    lows, highs = zip(*(needed for _, needed in found), strict=True)
    border: Border = "zero" if footprint.keeps_size and trace.padded else "mirror"
    exactness: Exactness = "STAGES" if offences else "EXACT"
    return Derivation(footprint, Context(lows, highs), exactness, border, trace.shape[1], tuple(offences),
                      tuple(trace.swallows))


def _whole(trace: Trace) -> Derivation:
    """Describe a network whose output has no axis of the image: a classifier, unless a layer lost the axes."""
    offences = _causes(trace.offences)
    if trace.output is None:
        offences.append(Offence("the output", "unknown", "does not come from the input by operators of torch: "
                                "something else computes it, such as numpy"))
    lost = any(offence.kind == "unknown" for offence in offences)
    if not lost:
        shape = f"has shape {trace.shape}, without any axis of the image"
        offences.append(Offence("the output", "output", shape))
    channels = trace.shape[1] if len(trace.shape) > 1 else 1
    return Derivation(None, None, "STAGES" if lost else "WHOLE", "mirror", channels, tuple(offences),
                      tuple(trace.swallows))


def _causes(offences: Sequence[Offence]) -> list[Offence]:
    """Drop offences that only follow from an axis lost in an earlier layer."""
    first = next((n for n, o in enumerate(offences) if o.kind in ("global", "unknown")), len(offences))
    return [o for n, o in enumerate(offences) if n <= first or o.kind != "position"]


def _size_dependence(trace: Trace, larger: Trace) -> list[Offence]:
    """Find layers whose maps change with the size, although both sizes are in phase."""
    if larger.error is not None:
        return [Offence("the network", "size", f"fails on {larger.sizes}: {larger.error}")]
    for one, other in zip(trace.nodes, larger.nodes, strict=False):
        if one.signature != other.signature:
            return [Offence(one.layer, "size", f"its {one.op} depends on the size of its input")]
    if len(trace.nodes) != len(larger.nodes):
        return [Offence("the network", "size", "runs other operators on a larger input")]
    return []


def _wrong_output(trace: Trace) -> Offence | None:
    """Return why the output is not a map at the input's resolution, or None if it is one."""
    assert trace.output is not None
    node = trace.nodes[trace.output]
    axes = [axes_of([dim]) for dim in node.dims]
    if axes != [[], [], *([axis] for axis in range(trace.ndim))]:
        return Offence("the output", "output", f"has shape {trace.shape}, not (n, channels, *axes of the image)")
    if any(scale != 1 for scale in node.scale):
        steps = " x ".join(map(str, node.scale))
        return Offence("the output", "output", f"has one voxel for every {steps} of the input")
    if any(out > size for out, size in zip(trace.shape[2:], trace.sizes, strict=True)):
        return Offence("the output", "output", f"is larger than the input, {trace.shape[2:]} from {trace.sizes}")
    return None


def _axis(trace: Trace, axis: int) -> tuple[Reach, tuple[int, int]]:
    """Footprint and unrounded context on one axis."""
    stride = trace.stride(axis)
    dropped = trace.sizes[axis] - trace.shape[2 + axis]
    before = _alignment(trace, axis, dropped, stride)
    needed = trace.reach(axis, 0, stride - 1) or (before, before + stride - 1)
    low, high = before - needed[0], needed[1] + 1 - before - stride
    return round_context(low, high, before, dropped - before, stride, trace.sizes[axis]), (low, high)


def _alignment(trace: Trace, axis: int, dropped: int, stride: int) -> int:
    """Return how many of the dropped voxels lie before the output's first voxel.

    It is half of them, since networks are nearly always symmetric, unless the centres of the outputs' receptive fields
    are off by more than half a stride, the amount by which single outputs differ anyway.
    """
    if not dropped:
        return 0
    spans = [span for i in range(stride) if (span := trace.reach(axis, i, i)) is not None]
    centres = [Fraction(low + high, 2) - i for i, (low, high) in enumerate(spans)]
    centre = sum(centres, Fraction(0)) / len(centres) if centres else Fraction(dropped, 2)
    if abs(centre - Fraction(dropped, 2)) <= Fraction(stride, 2):
        return dropped // 2
    return max(0, min(dropped, round(centre)))


def round_context(
    low: int, high: int, shrink_low: int, shrink_high: int, stride: int, in_phase_at: int
) -> Reach:
    """Round a context up so that every tile is in phase.

    ``low`` becomes congruent to ``shrink_low`` modulo the stride, so that a tile's origin has the phase of a pass
    whose output starts at voxel 0 of the volume. ``low + high`` becomes congruent to ``in_phase_at``, a size at which
    no pooling floors or ceils.
    """
    # U-Net of depth 4: (90, 90), shrink 92, stride 16, in phase at 572: low = 92, high = 92 + (572 - 184) % 16 = 96
    low, high = max(low, shrink_low), max(high, shrink_high)
    low += (shrink_low - low) % stride
    high += (in_phase_at - low - high) % stride
    return Reach(low, high, shrink_low, shrink_high, stride)

