"""Segment only parts of a volume: a mask, a background value, and a job that skips everything else.

The choice of voxels does not depend on the blocks. A block without any chosen voxel is not computed; if a mask leaves
it out, the volume is not read there either, while a background value is looked for in the voxels of the block. A chosen
voxel has the same value as without a mask, because the network sees the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tiler.errors import PlanError
from tiler.geometry import Box, Grid, Shape, Span
from tiler.jobs.background import Foreground, Inside, Varied
from tiler.jobs.components import Readable
from tiler.jobs.segment import SegmentJob, Window
from tiler.options import AUTO, ResolvedOptions
from tiler.ports import Array, Calibration, Json, Sink, Source
from tiler.ports.units import NANOMETRES
from tiler.sources import open_source
from tiler.sources.around import Around
from tiler.sources.volume import VolumeSource

COUNTED, MOST_BLOCKS = 1 << 28, 1 << 16
"""Voxels of a mask, and blocks, up to which a plan counts the blocks that the mask leaves out."""


class Part(Protocol):
    """A set of voxels to segment."""

    def read(self, box: Box) -> Inside:
        """bool ``box.shape``: True at the voxels of the part; the box is in voxels of the volume."""
        ...

    def to_json(self) -> Json:
        """The values that determine which voxels belong to the part."""
        ...


@dataclass(frozen=True, slots=True)
class Mask:
    """Voxels where a volume, of any resolution, is not 0.

    Parameters
    ----------
    source
        The mask. A voxel counts if any of its channels is not 0.
    steps, shifts
        Along z, y and x: voxel ``i`` of the volume falls on voxel ``floor(i * step + shift)`` of the mask. Voxels
        outside the mask are not segmented.
    """

    source: Source
    steps: tuple[float, float, float]
    shifts: tuple[float, float, float]

    @classmethod
    def over(cls, source: Source, volume: Source) -> Mask:
        """Place a mask by the scales and offsets of both volumes if their units are known, else by their sizes.

        Raises
        ------
        PlanError
            If units cannot be converted, or if units place some axes and sizes, which differ, would place others.
        """
        axes = "yx" if _times(volume) > 1 else "zyx"  # the sections of several time points have no common z
        known = {axis: _physical(source.calibration, volume.calibration, axis) for axis in axes}
        _check_alike(source, volume, known)
        placed = [known.get(axis) or _by_size(here, there)
                  for axis, here, there in zip("zyx", source.shape[1:], volume.shape[1:], strict=True)]
        (a, first), (b, second), (c, third) = placed
        return cls(source, (a, b, c), (first, second, third))

    def read(self, box: Box) -> Inside:
        places = [np.floor(np.arange(span.start, span.stop) * step + shift).astype(np.int64)
                  for span, step, shift in zip(box.spans, self.steps, self.shifts, strict=True)]
        known = [(place >= 0) & (place < size) for place, size in zip(places, self.source.shape[1:], strict=True)]
        inside = np.zeros(box.shape, bool)
        if all(each.any() for each in known):
            kept = [place[each] for place, each in zip(places, known, strict=True)]
            hull = Box(tuple(Span(int(place[0]), int(place[-1]) + 1) for place in kept))
            found = (self.source.read(hull) != 0).any(axis=0)
            inside[np.ix_(*known)] = found[np.ix_(*(place - place[0] for place in kept))]
        return inside

    def to_json(self) -> Json:
        return {"mask": self.source.identity, "steps": list(self.steps), "shifts": list(self.shifts)}


def _physical(mask: Calibration, volume: Calibration, axis: str) -> tuple[float, float] | None:
    """The nearest voxel, where both say where it lies."""
    if axis not in mask.axes or axis not in volume.axes:
        return None
    here, there = mask.axes.index(axis), volume.axes.index(axis)
    own, unit = mask.units[here], volume.units[there]
    if own is None or unit is None:
        return None
    factor, scale = _in_unit(unit, own, axis), mask.scale[here]
    return factor * volume.scale[there] / scale, (factor * volume.offset[there] - mask.offset[here]) / scale + 0.5


def _in_unit(unit: str, wanted: str, axis: str) -> float:
    """How many of another unit one unit is."""
    if unit == wanted:
        return 1.0
    if unit not in NANOMETRES or wanted not in NANOMETRES:
        raise PlanError(f"along {axis} the mask is measured in {wanted} and the volume in {unit}, which cannot be "
                        "converted: give both a unit of length", option="mask")
    return NANOMETRES[unit] / NANOMETRES[wanted]


def _check_alike(mask: Source, volume: Source, known: Mapping[str, tuple[float, float] | None]) -> None:
    """Refuse a mask that units place along some axes, and a different number of voxels along others."""
    sizes = dict(zip("zyx", zip(mask.shape[1:], volume.shape[1:], strict=True), strict=True))
    common = set(mask.calibration.axes) & set(volume.calibration.axes)
    loose = [axis for axis, place in known.items()
             if place is None and axis in common and len(set(sizes[axis])) > 1]
    if loose and any(known.values()):
        axis, (here, there) = loose[0], sizes[loose[0]]
        raise PlanError(f"{mask.name} and {volume.name} both have units, but not along {axis}, where they have {here} "
                        f"and {there} voxels: give both a unit there, or the mask as many voxels", option="mask")


def _by_size(mask: int, volume: int) -> tuple[float, float]:
    """Both cover the same extent."""
    return mask / volume, mask / volume / 2


@dataclass(frozen=True, slots=True)
class All:
    """Voxels that belong to all of several parts."""

    parts: Sequence[Part]

    def read(self, box: Box) -> Inside:
        inside = np.ones(box.shape, bool)
        for part in self.parts:
            if inside.any():
                inside &= part.read(box)
        return inside

    def to_json(self) -> Json:
        return {name: value for part in self.parts for name, value in part.to_json().items()}


def part_of(options: ResolvedOptions, volume: Source, trust: bool = False) -> Part | None:
    """The part of a volume that the options select; None for all of it.

    Parameters
    ----------
    options
        The mask is opened with their ``missing``.
    volume
        The volume, with one time point or all.
    trust
        Whether the file of the mask may name other files outside its folder.

    Raises
    ------
    PlanError
        If it is not clear which sections of the mask belong to the time points of the volume.
    """
    parts: list[Part] = []
    if options.mask is not None:
        parts.append(Mask.over(_mask_of(options, volume, trust), volume))
    if options.background is not None:
        parts.append(Varied(volume) if options.background is AUTO else Foreground(volume, options.background))
    return All(tuple(parts)) if parts else None


def count_skipped(part: Part, grid: Grid) -> int | None:
    """Number of blocks that a mask leaves out; None without a mask, or if there are too many voxels to look at.

    Voxels of the volume are not read: what is background is not known before a block is read.
    """
    masks = [each for each in part.parts if isinstance(each, Mask)] if isinstance(part, All) else []
    if not masks or math.prod(masks[0].source.shape) > COUNTED or len(grid) > MOST_BLOCKS:
        return None
    return sum(not masks[0].read(box).any() for box in grid)


def _mask_of(options: ResolvedOptions, volume: Source, trust: bool) -> Source:
    """The mask, at the time point of the volume if one was chosen."""
    mask = open_source(options.mask, missing=options.missing, trust=trust)
    image = volume.source if isinstance(volume, Around) else volume
    chosen = image.view if isinstance(image, VolumeSource) and image.view.time is not None else None
    times = _times(volume) if chosen is None else chosen.size("t")
    if chosen is not None and 1 < times == _times(mask):
        return open_source(options.mask, time=chosen.time, missing=options.missing, trust=trust)
    if max(times, _times(mask)) > 1 and mask.shape[1] != volume.shape[1] and not (
            chosen is not None and mask.shape[1] == 1):
        what = f"{times} time points" if chosen is None else f"{times} time points, of which one was chosen"
        raise PlanError(f"{volume.name} has {what}, so its mask has as many sections, {volume.shape[1]}, or as many "
                        f"time points; {mask.name} has {mask.shape[1]} sections", option="mask")
    return mask


def _times(source: Source) -> int:
    """Number of time points that are folded into z."""
    return dict(zip(source.calibration.axes, source.calibration.sizes, strict=True)).get("t", 1)


@dataclass(frozen=True, slots=True)
class Kept:
    """Values of an earlier stage inside the segmented part and 0 elsewhere, read by region.

    Parameters
    ----------
    stored
        The earlier stage.
    part
        The part of the volume that is segmented.
    start
        ``(z, y, x)`` of the output in the volume.
    """

    stored: Readable
    part: Part
    start: Shape

    @property
    def name(self) -> str:
        return str(self.stored.name)

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)``."""
        found: Array = self.stored.read(box)
        return np.where(self.part.read(box.shift(self.start)), found, found.dtype.type(0))


@dataclass(frozen=True, slots=True)
class MaskedJob:
    """Run a job of the network only on the segmented part and write 0 elsewhere: a `tiler.ports.Job`.

    Parameters
    ----------
    work
        The job without a mask.
    part
        Part of the volume that is segmented.
    """

    work: SegmentJob
    part: Part

    @property
    def feeders(self) -> int:
        return self.work.feeders

    @property
    def sink(self) -> Sink:
        return self.work.sink

    def where(self, index: int) -> str:
        return self.work.where(index)

    def read(self, index: int) -> tuple[Inside, Window | None]:
        inside = self.part.read(self.work.plan.grid[index])
        return inside, self.work.read_where(index, inside) if inside.any() else None

    def compute(self, index: int, window: tuple[Inside, Window | None]) -> tuple[Array, bool]:
        """The block, and whether the network was run; voxels of tiles that were left out have any value until here."""
        inside, read = window
        predictor = self.work.predictor
        if read is None:
            return np.zeros((len(predictor.classes), *inside.shape), predictor.dtype), False
        return np.where(inside, self.work.compute(index, read), predictor.dtype.type(0)), True

    def write(self, index: int, result: tuple[Array, bool]) -> Json:
        data, computed = result
        return {**self.work.write(index, data), **({} if computed else {"skipped": True})}
