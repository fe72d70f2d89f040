"""Volumes sliced like arrays: an index becomes one read of the smallest box that holds it."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.ports import Array, Source

AXES = 4


def read_index(source: Source, index: Any) -> Array:
    """``source[index]``: a part of a volume (c, z, y, x), by numbers, slices and ``...``.

    Raises
    ------
    SourceError
        For an index of another kind.
    IndexError
        For a number outside the volume, which also ends a loop over it.
    """
    parts = _full(index if isinstance(index, tuple) else (index,), source.name)
    spans = [range(size)[part] for part, size in zip(map(_as_slice, parts), source.shape, strict=True)]
    for part, span, size in zip(parts, spans, source.shape, strict=True):
        if not isinstance(part, slice) and not span:
            raise IndexError(f"{source.name}: index {part} lies outside an axis of {size}")
    if not all(spans):
        return np.empty(tuple(len(span) for span, part in zip(spans, parts, strict=True) if isinstance(part, slice)),
                        source.dtype)
    box = Box.between([min(span) for span in spans[1:]], [max(span) + 1 for span in spans[1:]])
    within = [span if number == 0 else range(span.start - min(span), span.stop - min(span), span.step)
              for number, span in enumerate(spans)]
    found = source.read(box)[np.ix_(*within)]
    return found[tuple(slice(None) if isinstance(part, slice) else 0 for part in parts)]


def _full(parts: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """One number or slice an axis."""
    places = [number for number, part in enumerate(parts) if isinstance(part, EllipsisType)]
    left = AXES - len(parts) + len(places)
    if len(places) > 1 or left < 0 or any(not _is_part(part) for part in parts):
        raise SourceError(f"{name}: a volume is indexed by up to {AXES} numbers and slices (c, z, y, x), got {parts}")
    at = places[0] if places else len(parts)
    return (*parts[:at], *(slice(None),) * left, *parts[at + 1 :])


def _is_part(part: Any) -> bool:
    return isinstance(part, (slice, EllipsisType, int, np.integer)) and not isinstance(part, bool)


def _as_slice(part: Any) -> slice:
    """A number as a slice of one voxel; counted from the end where it is negative."""
    return part if isinstance(part, slice) else slice(part, part + 1 or None)
