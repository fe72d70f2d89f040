"""Sources around another source: inverted grey values, and grey images that are stored as RGB."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.geometry import Box, Shape, Span
from tiler.ports import Array, Calibration, Json, Source, VolumeShape
from tiler.sources.volume import VolumeSource, inverted_values

COLOURS = 3
SAMPLE = 64
"""Side of the part of the middle section that decides whether an image is grey."""


class Wrapping:
    """A `tiler.ports.Source` whose properties are those of the source that it reads."""

    __slots__ = ()

    source: Source

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def shape(self) -> VolumeShape:
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.source.dtype

    @property
    def calibration(self) -> Calibration:
        return self.source.calibration

    @property
    def identity(self) -> Json | None:
        return self.source.identity

    @property
    def read_unit(self) -> Shape:
        return self.source.read_unit


@dataclass(frozen=True, slots=True)
class Around(Wrapping):
    """A source that changes the values of another one, or its channels."""

    source: Source = field(repr=False)

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)``: see `tiler.ports.Source`."""
        return self.source.read(box)


@dataclass(frozen=True, slots=True)
class Inverted(Around):
    """The same volume with `inverted_values`."""

    def read(self, box: Box) -> Array:
        return inverted_values(self.source.read(box))


@dataclass(frozen=True, slots=True)
class Grey(Around):
    """The one channel of an RGB or RGBA image whose red, green and blue are equal; alpha is ignored."""

    @property
    def shape(self) -> VolumeShape:
        return (1, *self.source.shape[1:])

    @property
    def identity(self) -> Json | None:
        stored = self.source.identity
        return None if stored is None else {**stored, "grey": True}

    def read(self, box: Box) -> Array:
        values = self.source.read(box)
        if not is_grey(values):
            raise SourceError(f"{self.name} is grey in its middle and coloured in {box}: choose one of its "
                              f"{len(values)} channels", option="channel")
        return np.ascontiguousarray(values[:1])


def inverted(source: Source) -> Source:
    """The same volume with `inverted_values`."""
    return replace(source, inverted=True) if isinstance(source, VolumeSource) else Inverted(source)


def grey_of(source: Source) -> Source:
    """One channel, if a volume has three or four and the first three are equal in a sample; else the same volume."""
    if source.shape[0] not in (COLOURS, COLOURS + 1):
        return source
    starts = [max(0, (size - side) // 2) for size, side in zip(source.shape[1:], (1, SAMPLE, SAMPLE), strict=True)]
    sides = (min(size, side) for size, side in zip(source.shape[1:], (1, SAMPLE, SAMPLE), strict=True))
    sample = Box(tuple(Span(start, start + side) for start, side in zip(starts, sides, strict=True)))
    return Grey(source) if is_grey(source.read(sample)) else source


def is_grey(values: Array) -> bool:
    """Whether the first three channels are equal."""
    return bool((values[1:COLOURS] == values[:1]).all())
