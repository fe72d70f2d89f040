"""One of several parts of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tiler.errors import PlanError


@dataclass(frozen=True, slots=True)
class Share:
    """Part ``number`` of ``of``, counted from 0."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def bounds(self, total: int) -> tuple[int, int]:
        """The first of its blocks, and the first that is not, of so many: parts 0 to 2 of 3 share 8 as 2, 3, 3."""
        return total * self.number // self.of, total * (self.number + 1) // self.of


@dataclass(frozen=True, slots=True)
class PartOfAll:
    """``K/N`` as text, or a `Share`."""

    def __call__(self, value: Any, option: str) -> Share:
        if isinstance(value, Share):
            return value
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", value) if isinstance(value, str) else None
        if found is None:
            raise PlanError(f"{value!r} is not a part such as 3/16 (in a SLURM array $SLURM_ARRAY_TASK_ID/16)",
                            option=option)
        number, of = int(found[1]), int(found[2])
        if number == of and of > 0:
            raise PlanError(f"parts count from 0, so the last one of {of} is {of - 1}/{of}; got {value}: in an array "
                            f"1-{of} say $((SLURM_ARRAY_TASK_ID - 1))/{of}, or use --array=0-{of - 1}", option=option)
        if number >= of:
            raise PlanError(f"{of} parts are 0/{of} to {max(of - 1, 0)}/{of}; got {value}" if of else
                            f"there is at least one part; got {value}", option=option)
        return Share(number, of)
