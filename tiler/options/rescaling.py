"""The option that shows a network its input at another voxel size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from tiler.errors import PlanError
from tiler.options.declaring import AUTO, AutoType
from tiler.options.parsers import Real, is_auto


@dataclass(frozen=True, slots=True)
class Factors:
    """Positive factors along (z, y, x): ``2.5`` for y and x, ``"1,2.5,2.5"``, or "auto"."""

    def __call__(self, value: Any, option: str) -> tuple[float, float, float] | AutoType:
        if is_auto(value):
            return AUTO
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, Sequence) else [value]
        found = [cast(float, Real(0)(part, option)) for part in parts]
        if len(found) not in (1, 3) or min(found) <= 0:
            raise PlanError(f"{value!r} is not a factor: give auto, 2.5 for y and x, or 1,2.5,2.5 for z, y, x",
                            option=option)
        return (found[0], found[1], found[2]) if len(found) == 3 else (1.0, found[0], found[0])
