"""Parsers of the options that say how an output is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tiler.errors import PlanError
from tiler.geometry import Shape
from tiler.options.parsers import Sizes, index_of

LEVELS = {"blosc": range(10), "zstd": range(23), "gzip": range(10), "none": range(0)}
"""Levels of each compression."""


@dataclass(frozen=True, slots=True)
class Compression:
    """A compression and its level: ``"blosc"``, ``"blosc:7"``, ``("blosc", 7)``; None is the library's level."""

    def __call__(self, value: Any, option: str) -> tuple[str, int | None]:
        parts = value.split(":") if isinstance(value, str) else value
        if isinstance(parts, Sequence) and 1 <= len(parts) <= 2 and parts[0] in LEVELS:
            name, level = parts[0], parts[1] if len(parts) == 2 else None
            if level is None or index_of(level) in LEVELS[name]:
                return name, index_of(level)
        known = ", ".join(f"{name}:0 to {name}:{max(levels)}" for name, levels in LEVELS.items() if levels)
        raise PlanError(f"{value!r} is not a compression: give {known}, a name alone, or none", option=option)


@dataclass(frozen=True, slots=True)
class Shard:
    """Sizes, or "none"."""

    def __call__(self, value: Any, option: str) -> Shape | Literal["none"]:
        if value == "none":
            return "none"
        sizes = Sizes(3, auto=False)(value, option)
        assert isinstance(sizes, tuple)
        return sizes


@dataclass(frozen=True, slots=True)
class FillValue:
    """A number, or "nan", which stays a text because JSON has no such number."""

    def __call__(self, value: Any, option: str) -> int | float | Literal["nan"]:
        number = index_of(value)
        if number is not None:
            return number
        try:
            found = math.inf if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            found = math.inf
        if math.isinf(found):
            raise PlanError(f"{value!r} is not a finite number or nan", option=option)
        return "nan" if math.isnan(found) else found


@dataclass(frozen=True, slots=True)
class LevelCount:
    """Number of levels, with "none" for the full one alone."""

    def __call__(self, value: Any, option: str) -> int:
        number = 1 if value == "none" else index_of(value)
        if number is None or not 1 <= number <= MANY_LEVELS:
            raise PlanError(f"{value!r} is not a number of levels: give 1 to {MANY_LEVELS}, or none for the full one "
                            "alone", option=option)
        return number


MANY_LEVELS = 30
"""Halved so often, no array of this world has two voxels left."""


@dataclass(frozen=True, slots=True)
class Factors:
    """Factors along z, y, x: ``"1x2x2"``, ``(1, 2, 2)``; ``"2x2"`` and ``2`` are along y and x."""

    def __call__(self, value: Any, option: str) -> Shape:
        sizes = Sizes(3, auto=False)(value, option)
        assert isinstance(sizes, tuple)
        factors = (1, *sizes, *sizes) if len(sizes) == 1 else (1,) * (3 - len(sizes)) + sizes
        if max(factors) == 1 or max(factors) > MOST:
            raise PlanError(f"{value!r} makes no level of another: give factors of at most {MOST}, as in 1x2x2 for z, "
                            "y, x", option=option)
        return factors


MOST = 64
"""Largest factor between two levels."""
