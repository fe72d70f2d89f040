"""Find the voxels of a region that is given in units of length, or in the voxels of another level.

::

    coordinates   offset is the centre of voxel 0; a range holds the voxels whose centres lie in it
    levels        a voxel of level 1 covers the voxels of level 0 that overlap it:

    level 0       |0|1|2|3|4|5|6|7|      2:4 in voxels of level 1 is 4:8 in voxels of level 0,
    level 1       | 0 | 1 | 2 | 3 |      and 3:6 in voxels of level 0 is 1:3 in voxels of level 1
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from tiler.errors import PlanError
from tiler.geometry import Box, Span
from tiler.options.regions import Length, Range, Region
from tiler.ports import Source
from tiler.ports.units import NANOMETRES
from tiler.sources import open_source
from tiler.sources.levels import place_of_level
from tiler.sources.volume import VolumeSource

logger = logging.getLogger(__name__)

SLACK = 1e-6
"""Share of a voxel by which coordinates may be off, since they are rounded where they are written."""


def located(region: Region, source: Source) -> Box:
    """The voxels of a region in a volume.

    Raises
    ------
    PlanError
        If the sizes of voxels are not known, or the region ends before it starts.
    SourceError
        If there is no such level.
    """
    shape = source.shape[1:]
    if region.unnamed == 2 and shape[0] > 1:
        y, x = (_spelled(span) for span in region.spans[1:])
        logger.warning("two ranges of a region are y and x: y=%s,x=%s of all %d sections; three are z, y, x", y, x,
                       shape[0])
    if region.in_voxels:
        return region.within(shape)
    level = source if region.level is None else _level(region.level, source)
    voxels = tuple(_in_voxels(axis, span, level) for axis, span in zip("zyx", region.spans, strict=True))
    box = Region(voxels).within(level.shape[1:])
    if level is source:
        return box
    for axis, span, size in zip("zyx", box.spans, level.shape[1:], strict=True):
        if span.stop > size:
            raise PlanError(f"region {region} ends at voxel {span.stop} of {axis}, level {region.level} has {size}",
                            option="roi")
    return Box(tuple(_mapped(axis, span, level, source) for axis, span in zip("zyx", box.spans, strict=True)))


def _spelled(span: Range) -> str:
    return ":".join("" if bound is None else str(bound) for bound in span)


def _level(level: str, source: Source) -> Source:
    if not isinstance(source, VolumeSource):
        raise PlanError(f"{source.name} has no levels that a region could refer to: leave out @{level}", option="roi")
    time = None if source.view.time is None else source.view.time
    return open_source(place_of_level(source.name, source.raw, level), axes=source.view.axes, time=time)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Size of a voxel and centre of the first one, in nanometres; None where the unit is not known."""

    scale: float
    offset: float
    unit: str | None

    @classmethod
    def of(cls, axis: str, source: Source) -> _Axis:
        known = source.calibration
        if axis not in known.axes:
            return cls(1.0, 0.0, None)
        place = known.axes.index(axis)
        factor = NANOMETRES.get(known.units[place] or "")
        folded = axis == "z" and len(known.axes) > 3 and source.shape[1] != known.sizes[place]
        unit = None if factor is None or folded else known.units[place]
        return cls(known.scale[place] * (factor or 1.0), known.offset[place] * (factor or 1.0), unit)


def _in_voxels(axis: str, span: Range, source: Source) -> tuple[int | None, int | None]:
    """The voxels whose centres lie in a range."""
    if not any(isinstance(bound, Length) for bound in span):
        return span  # type: ignore[return-value]  # voxels already
    known = _Axis.of(axis, source)
    if known.unit is None:
        raise PlanError(f"{axis}={_spelled(span)}: {source.name} does not say how large its voxels are along {axis}: "
                        "give voxels", option="roi")
    start, stop = (math.ceil((bound.nanometres - known.offset) / known.scale - SLACK)
                   if isinstance(bound, Length) else None for bound in span)  # a bound without a unit is open
    size = source.shape["zyx".index(axis) + 1]
    first, last = (known.offset + known.scale * at for at in (0, size))
    if (start or 0) < 0 or (stop is not None and not (start or 0) < stop <= size):
        factor = NANOMETRES[known.unit]
        raise PlanError(f"{axis}={_spelled(span)} is voxels {'' if start is None else start}:"
                        f"{'' if stop is None else stop} of {size}: {source.name} lies from {first / factor:g} to "
                        f"{last / factor:g} {known.unit} along {axis}", option="roi")
    return start, stop


def _mapped(axis: str, span: Span, level: Source, source: Source) -> Span:
    """The voxels of the volume that overlap some voxels of another level."""
    there, here = _Axis.of(axis, level), _Axis.of(axis, source)
    number = "zyx".index(axis) + 1
    size, others = source.shape[number], level.shape[number]
    if size == others:
        return span
    ratio, shift = _ratio(there, here, size, others)
    start, stop = (edge * ratio + shift for edge in (span.start, span.stop))
    return Span(max(0, math.floor(start + SLACK)), min(size, math.ceil(stop - SLACK)))


def _ratio(there: _Axis, here: _Axis, size: int, others: int) -> tuple[float, float]:
    """Voxels of the volume in one of the level, and the place of the level's first face in the volume.

    Programs that leave out the offsets of coarser levels mean that all levels begin at the same face.
    """
    ratio = there.scale / here.scale
    if ratio == 1 or there.unit != here.unit:  # not stated: whole factors, by the sizes
        ratio = float(round(size / others)) if size > others else 1 / round(others / size)
        return ratio, 0.0
    if there.offset == here.offset:
        return ratio, 0.0
    return ratio, (there.offset - there.scale / 2 - here.offset) / here.scale + 0.5
