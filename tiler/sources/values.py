"""Metadata values of other programs: read if they are valid, else left out with a warning.

Bad metadata never prevent reading voxels: the functions here return None (or an empty value) for a value that they
cannot use, and name it in a warning.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

SHOWN = 60
"""Characters of a value that a warning shows."""


def unusable(name: str, what: str, value: Any, wanted: str) -> None:
    """Warn of a value that is left out.

    Parameters
    ----------
    name
        Name of the file.
    what
        Name of the value, such as ``"resolution"``.
    value
        Value as stored in the file.
    wanted
        What would have been right: ``"a positive number"``.
    """
    text = " ".join(repr(value).split())
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    logger.warning("%s: %s is %s and not %s: it is left out", name, what, shown, wanted)


def number_of(value: Any) -> float | None:
    """A finite number, also one written as text; None for anything else."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if getattr(value, "size", None) == 1 and hasattr(value, "item"):
        value = value.item()  # an array of one number
    if isinstance(value, bool) or value is None or getattr(value, "ndim", None):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def size_of(name: str, what: str, value: Any) -> float | None:
    """A physical size: finite and positive. None, with a warning, for anything else but None."""
    number = number_of(value)
    if number is not None and number > 0:
        return number
    if value is not None:
        unusable(name, what, value, "a positive number")
    return None


def sizes_of(name: str, what: str, value: Any, counts: Iterable[int]) -> tuple[float | None, ...]:
    """One size an axis, None for those that make no sense; nothing, with a warning, for another number of them."""
    values = list_of(value)
    if values is None or len(values) not in set(counts):
        if value is not None:
            unusable(name, what, value, f"a list of {' or '.join(map(str, sorted(set(counts))))} numbers")
        return ()
    return tuple(size_of(name, what, each) for each in values)


def offsets_of(name: str, what: str, value: Any, count: int) -> tuple[float, ...]:
    """Finite positions, 0 with a warning for those that make no sense; nothing for another number of them."""
    values = list_of(value)
    if values is None or len(values) != count:
        if value is not None:
            unusable(name, what, value, f"a list of {count} numbers")
        return ()
    numbers = [number_of(each) for each in values]
    if None in numbers:
        unusable(name, what, value, "a list of finite numbers")
    return tuple(number or 0.0 for number in numbers)


def list_of(value: Any) -> list[Any] | None:
    """A list, tuple or array of one dimension as a list; None for anything else."""
    if hasattr(value, "tolist") and getattr(value, "ndim", None) is not None:
        value = value.tolist()
    return list(value) if isinstance(value, (list, tuple)) else None


def mapping_of(value: Any) -> Mapping[str, Any]:
    """A mapping as it is, an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def mappings_of(value: Any) -> list[Mapping[str, Any]]:
    """The mappings of a list; a single one is taken for a list of one."""
    values = [value] if isinstance(value, Mapping) else list_of(value) or []
    return [each for each in values if isinstance(each, Mapping)]


def names_of(value: Any) -> tuple[str, ...]:
    """Names of channels: texts, none of them empty; nothing where that is not so."""
    if isinstance(value, (str, bytes)):
        value = [value]
    names = [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in list_of(value) or []]
    return tuple(str(name) for name in names) if names and all(isinstance(name, str) and name for name in names) else ()


def json_of(value: Any) -> Any:
    """Value of a JSON text; None if it is not valid JSON."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
