"""Regions of a volume, as a user gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tiler.errors import PlanError
from tiler.geometry import Box, Shape, Span

Range = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Region:
    """A region as the user gave it; spans may be open while the size of the volume is unknown."""

    spans: tuple[Range, ...]
    time: int | None = None

    def __str__(self) -> str:
        """Text from which this region can be parsed again."""
        named = [f"{axis}={'' if start is None else start}:{'' if stop is None else stop}"
                 for axis, (start, stop) in zip("zyx", self.spans, strict=True)]
        return ",".join(named if self.time is None else [f"t={self.time}", *named])

    def within(self, shape: Shape) -> Box:
        """The box in a volume ``(z, y, x)``.

        Raises
        ------
        PlanError
            If a span ends before it starts.
        """
        spans = [(start or 0, size if stop is None else stop) for (start, stop), size in
                 zip(self.spans, shape, strict=True)]
        for start, stop in spans:
            if stop < start:
                raise PlanError(f"a region cannot end before it starts, got {start}:{stop}", option="roi")
        return Box(tuple(Span(start, stop) for start, stop in spans))


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
    try:
        named = _named_ranges(value) if isinstance(value, str) else _sliced(value)
        time = named.pop("t", None)
        if time is not None and (None in time or time[1] - time[0] != 1):  # type: ignore[operator]
            raise PlanError(f"region {value!r} names several time points: give one, as in t=3", option=option)
        if set(named) <= set("zyx"):
            spans = tuple(named.get(axis, (None, None)) for axis in "zyx")
            return Region(spans, None if time is None else time[0])
    except PlanError:
        raise
    except (TypeError, ValueError):
        pass
    raise PlanError(f"region {value!r} cannot be read: give 0:5,100:600,50:450 for z, y, x, or "
                    "y=100:600,x=50:450, each axis once", option=option)


def _named_ranges(text: str) -> dict[str, Range]:
    parts = [part.strip() for part in text.strip("[] ").split(",")]
    if any("=" in part for part in parts):
        pairs = [part.split("=") for part in parts]
        if len({name.strip() for name, _ in pairs}) < len(pairs):
            raise ValueError(text)  # an axis is named twice
        return {name.strip(): _range(numbers) for name, numbers in pairs}
    return _aligned([_range(part) for part in parts])


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
        return int(start), int(start) + 1
    return int(start) if start.strip() else None, int(stop) if stop.strip() else None
