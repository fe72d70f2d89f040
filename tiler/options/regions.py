"""Regions of a volume, as a user gives them: in voxels, or in units of length."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from tiler.errors import PlanError
from tiler.geometry import Box, Shape, Span
from tiler.ports.units import NANOMETRES, SYMBOLS, unit_of


@dataclass(frozen=True, slots=True)
class Length:
    """A coordinate with its unit, as OME-NGFF spells it."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value!r}{SYMBOLS.get(self.unit, self.unit)}"

    @property
    def nanometres(self) -> float:
        return self.value * NANOMETRES[self.unit]


Bound = int | Length | None
Range = tuple[Bound, Bound]
Voxels = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Region:
    """A region as the user gave it; spans may be open while the size of the volume is unknown.

    Parameters
    ----------
    spans
        Start and stop along z, y and x: voxels, negative ones from the end, or coordinates with a unit.
    time
        The time point.
    level
        Level of the image whose voxels are counted; None for those of the volume.
    unnamed
        Number of ranges that were given without the names of their axes.
    """

    spans: tuple[Range, ...]
    time: int | None = None
    level: str | None = None
    unnamed: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """Text from which this region can be parsed again."""
        named = [f"{axis}={'' if start is None else start}:{'' if stop is None else stop}"
                 for axis, (start, stop) in zip("zyx", self.spans, strict=True)]
        text = ",".join(named if self.time is None else [f"t={self.time}", *named])
        return text if self.level is None else f"{text}@{self.level}"

    @property
    def in_voxels(self) -> bool:
        """Whether it can be found without knowing the sizes of voxels and other levels."""
        return self.level is None and not any(isinstance(bound, Length) for span in self.spans for bound in span)

    def within(self, shape: Shape) -> Box:
        """The box in a volume ``(z, y, x)``.

        Raises
        ------
        PlanError
            If a span ends before it starts, or is not in voxels.
        """
        if not self.in_voxels:
            raise PlanError(f"region {self} is not in voxels of this volume, as it has to be here", option="roi")
        return Box(tuple(_span(axis, start, stop, size) for axis, (start, stop), size in
                         zip("zyx", self.spans, shape, strict=True)))


def _span(axis: str, start: Bound, stop: Bound, size: int) -> Span:
    """Voxels of one axis; negative ones count from the end."""
    assert not isinstance(start, Length)
    assert not isinstance(stop, Length)
    first = start or 0
    last = size if stop is None else stop
    first, last = (bound + size if bound < 0 else bound for bound in (first, last))
    if last < first:
        counted = f", which is {first}:{last} of {size}" if (start or 0) < 0 or (stop or 0) < 0 else ""
        raise PlanError(f"a region cannot end before it starts, got {axis}={'' if start is None else start}:"
                        f"{'' if stop is None else stop}{counted}", option="roi")
    return Span(first, last)


def parse_roi(value: Any, option: str = "roi") -> Region:
    """A region from text, slices or a box.

    Raises
    ------
    PlanError
        If it cannot be read.
    """
    if isinstance(value, Region):
        return value
    if isinstance(value, Box):
        return Region(tuple((span.start, span.stop) for span in value.spans))
    text, level = _with_level(value) if isinstance(value, str) else (value, None)
    try:
        named, unnamed = _named_ranges(text) if isinstance(text, str) else (_sliced(text), 0)
        time = named.pop("t", None)
        if time is not None and (not all(isinstance(each, int) for each in time) or time[1] - time[0] != 1):  # type: ignore[operator]
            raise PlanError(f"region {value!r} names several time points: give one, as in t=3", option=option)
        if set(named) <= set("zyx"):
            spans = tuple(named.get(axis, (None, None)) for axis in "zyx")
            return Region(spans, None if time is None else time[0], level, unnamed)  # type: ignore[arg-type]
    except PlanError:
        raise
    except (TypeError, ValueError):
        pass
    raise PlanError(f"region {value!r} cannot be read: give 0:5,100:600,50:450 for z, y, x, or "
                    "y=100:600,x=50:450, each axis once, in voxels or as in z=0:2um, and @1 behind it for voxels of "
                    "level 1", option=option)


def _with_level(text: str) -> tuple[str, str | None]:
    """The text before ``@``, and the level behind it."""
    ranges, at, level = text.rpartition("@")
    return (ranges, level.strip()) if at and level.strip() else (text, None)


def _named_ranges(text: str) -> tuple[dict[str, Range], int]:
    parts = [part.strip() for part in text.strip("[] ").split(",")]
    if any("=" in part for part in parts):
        pairs = [part.split("=") for part in parts]
        if len({name.strip() for name, _ in pairs}) < len(pairs):
            raise ValueError(text)  # an axis is named twice
        return {name.strip(): _range(numbers) for name, numbers in pairs}, 0
    return _aligned([_range(part) for part in parts]), len(parts)


def _sliced(value: Any) -> dict[str, Range]:
    if any(part.step not in (None, 1) for part in value):
        raise ValueError(value)
    return _aligned([(part.start, part.stop) for part in value])


def _aligned(ranges: list[Range]) -> dict[str, Range]:
    """Two ranges are y and x, three are z, y and x."""
    if len(ranges) not in (2, 3):
        raise ValueError(ranges)
    return dict(zip("zyx"[-len(ranges) :], ranges, strict=True))


def _range(text: str) -> Range:
    start, colon, stop = text.partition(":")
    if not colon:
        place = int(start)
        return place, None if place == -1 else place + 1
    units = [_unit(part) for part in (start, stop)]
    return _bound(start, units[0] or units[1]), _bound(stop, units[1] or units[0])


QUANTITY = re.compile(r"\s*([+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*([^\d\s.+-].*)?", re.IGNORECASE)
"""A number and its unit."""


def _unit(text: str) -> str | None:
    """The unit of a bound; None for voxels and open ends."""
    found = QUANTITY.fullmatch(text.rstrip())
    if found is None or found[2] is None:
        return None
    unit = unit_of(found[2])
    if unit not in NANOMETRES:
        raise ValueError(text)
    return unit


def _bound(text: str, unit: str | None) -> Bound:
    """One bound; a number without a unit has that of the other bound: ``0:2um``."""
    if not text.strip():
        return None
    if unit is None:
        return int(text)
    found = QUANTITY.fullmatch(text.rstrip())
    if found is None:
        raise ValueError(text)
    return Length(float(found[1]), unit)
