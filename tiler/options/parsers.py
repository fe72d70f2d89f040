"""Parsers of single values from the command line or a call; each returns the final type."""

from __future__ import annotations

import ast
import math
import operator
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from tiler.errors import PlanError
from tiler.geometry import Shape
from tiler.options.declaring import AUTO, AutoType
from tiler.ports import Executor
from tiler.stores.address import place_of

UNITS = {prefix + binary: (1024 if binary else 1000) ** power
         for power, prefix in enumerate(("", "k", "m", "g", "t")) for binary in ("", "i")}


def is_auto(value: Any) -> bool:
    return value is AUTO or (isinstance(value, str) and value == "auto")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several words, given as a ``Literal``."""

    literal: Any

    @property
    def words(self) -> tuple[str, ...]:
        return get_args(self.literal)

    def __call__(self, value: Any, option: str) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise PlanError(f"{value!r} is not one of {', '.join(self.words)}", option=option)
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, as a number or as its digits; also "auto" if ``auto`` is set."""

    least: int
    most: int | None = None
    auto: bool = False

    def __call__(self, value: Any, option: str) -> int | AutoType:
        if self.auto and is_auto(value):
            return AUTO
        number = index_of(value)
        if number is None or number < self.least or (self.most is not None and number > self.most):
            most = f" and at most {self.most}" if self.most else ""
            raise PlanError(f"{value!r} is not a whole number of at least {self.least}{most}", option=option)
        return number


@dataclass(frozen=True, slots=True)
class Among:
    """One of several whole numbers, as a number or as its digits."""

    numbers: tuple[int, ...]

    def __call__(self, value: Any, option: str) -> int:
        number = index_of(value)
        if number is None or number not in self.numbers:
            raise PlanError(f"{value!r} is not one of {', '.join(map(str, self.numbers))}", option=option)
        return number


@dataclass(frozen=True, slots=True)
class Real:
    """A finite number from ``least`` to ``most``, as a number or as text; also "auto" if ``auto`` is set."""

    least: float
    most: float = math.inf
    auto: bool = False

    def __call__(self, value: Any, option: str) -> float | AutoType:
        if self.auto and is_auto(value):
            return AUTO
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not self.least <= number <= self.most or math.isinf(number):
            raise PlanError(f"{value!r} is not a number {self._span}", option=option)
        return number

    @property
    def _span(self) -> str:
        if math.isinf(self.least):
            return "that is finite"
        return f"of at least {self.least:g}" if math.isinf(self.most) else f"from {self.least:g} to {self.most:g}"


def index_of(value: Any) -> int | None:
    """An integer of any library, or a text of digits; None for all other values, including floats and booleans."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+\s*", value):
        return int(value)
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


@dataclass(frozen=True, slots=True)
class Flag:
    """True or False."""

    def __call__(self, value: Any, option: str) -> bool:
        if not isinstance(value, bool):
            raise PlanError(f"{value!r} is neither True nor False", option=option)
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """Any text that is not empty."""

    def __call__(self, value: Any, option: str) -> str:
        if not isinstance(value, str) or not value:
            raise PlanError(f"{value!r} is not a text", option=option)
        return value


@dataclass(frozen=True, slots=True)
class NewFile:
    """The path of a file to write, made absolute; no address of an object store."""

    def __call__(self, value: Any, option: str) -> Path:
        text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else ""
        if not isinstance(text, str) or not text or "://" in text:
            raise PlanError(f"{value!r} is not the path of a file", option=option)
        return Path(os.path.abspath(text))


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on a disk of this machine, which exists or can be made; a leading ``~`` is the user's home folder."""

    def __call__(self, value: Any, option: str) -> str:
        place = place_of(value)
        if not isinstance(place, Path) or not str(value).strip():
            raise PlanError(f"{value} is not a folder on a disk", option=option)
        if place.exists() and not place.is_dir():
            raise PlanError(f"{place} is a file: give a folder", option=option)
        return str(place.absolute())


@dataclass(frozen=True, slots=True)
class Assignments:
    """Values by name: a mapping, or texts ``NAME=VALUE`` whose values are Python literals, or else text."""

    def __call__(self, value: Any, option: str) -> dict[str, Any]:
        if isinstance(value, Mapping):
            return {str(name): each for name, each in value.items()}
        texts = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Sequence) else ()
        if not texts or any(not isinstance(text, str) or not text.partition("=")[1] for text in texts):
            raise PlanError(f"{value!r} sets nothing: give NAME=VALUE", option=option)
        return dict(self._pair(text) for text in texts)

    @staticmethod
    def _pair(text: str) -> tuple[str, Any]:
        name, _, value = text.partition("=")
        if value.strip().lower() in WORDS:
            return name.strip(), WORDS[value.strip().lower()]
        try:
            return name.strip(), ast.literal_eval(value.strip())
        except (SyntaxError, ValueError):
            return name.strip(), value.strip()


WORDS = {"none": None, "null": None, "true": True, "false": False}
"""Values as other programs write them."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name or a number."""

    def __call__(self, value: Any, option: str) -> str:
        number = index_of(value)
        if number is None and not (isinstance(value, str) and value):
            raise PlanError(f"{value!r} is neither a name nor a number", option=option)
        return str(value if number is None else number)


@dataclass(frozen=True, slots=True)
class Items:
    """One name or number, several with commas between them, or a sequence."""

    def __call__(self, value: Any, option: str) -> str | int | tuple[str | int, ...]:
        if isinstance(value, str) and value:
            return value
        items = (value,) if index_of(value) is not None else tuple(value) if isinstance(value, Sequence) else ()
        if not items or any(not isinstance(item, str) and index_of(item) is None for item in items):
            raise PlanError(f"{value!r} is neither a name, a number nor a list of them", option=option)
        plain = tuple(item if isinstance(item, str) else operator.index(item) for item in items)
        return plain if isinstance(value, Sequence) else plain[0]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes along the last axes, up to ``most`` of them: ``572``, ``"1x572x572"``, ``(1, 572, 572)``, or "auto"."""

    most: int = 3
    auto: bool = True

    def __call__(self, value: Any, option: str) -> Shape | AutoType:
        if self.auto and is_auto(value):
            return AUTO
        if isinstance(value, str):
            parts: Sequence[Any] = re.split(r"[x,]", value)
        else:
            parts = value if isinstance(value, Sequence) else [value]
        sizes = tuple(index_of(part) or 0 for part in parts)
        if not 1 <= len(sizes) <= self.most or min(sizes) < 1:
            raise PlanError(f"{value!r} is not a size: give {self.advice}", option=option)
        return sizes

    @property
    def advice(self) -> str:
        return "572, or 1x572x572 for z, y, x" if self.most == 3 else "352, or 352x480 for y, x"


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes from ``8000000000``, ``"8GB"`` (10^9), ``"8GiB"`` or ``"8Gi"`` (2^30); or "auto" where it is allowed."""

    auto: bool = True

    def __call__(self, value: Any, option: str) -> int | AutoType:
        if self.auto and is_auto(value):
            return AUTO
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", str(value).lower())
        if match is None or match[2] not in UNITS or float(match[1]) <= 0:
            raise PlanError(f"{value!r} is not an amount of bytes: give bytes, or 500MB, 8GiB", option=option)
        amount = int(float(match[1]) * UNITS[match[2]])
        if amount < UNITS["m"]:
            raise PlanError(f"{value!r} is {amount} bytes: give a unit, as in {match[1]}GiB", option=option)
        return amount


@dataclass(frozen=True, slots=True)
class ChoiceOrExecutor:
    """The name of an executor, or an object that is one."""

    names: Choice

    def __call__(self, value: Any, option: str) -> str | Executor:
        if isinstance(value, Executor) and not isinstance(value, type):
            return value
        return self.names(value, option)


def numbers(text: str, count: int) -> tuple[float, ...] | None:
    """So many finite numbers with commas between them; None for all else."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None
