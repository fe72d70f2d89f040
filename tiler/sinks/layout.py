"""How the volume (c, z, y, x) lies in the stored array.

::

    volume    c  z  y  x
    array     [t] [c] [z]  y  x      the calibration's axes, and c if the output has a channel axis

c stands first, after t where there is one, as OME-NGFF orders axes. The volume's z is the row-major product of
the calibration's axes before y and x, so a span of z may be several slices of the array.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiler.errors import DamagedError, SinkError
from tiler.geometry import Box, Shape, Span
from tiler.ports import Array, OutputSpec, VolumeShape

Index = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The mapping of one output.

    Parameters
    ----------
    volume
        Shape of the volume.
    stack
        Names of the axes that together are z.
    sizes
        Their lengths.
    channel_axis
        Whether the array has an axis c.
    """

    volume: VolumeShape
    stack: tuple[str, ...]
    sizes: tuple[int, ...]
    channel_axis: bool

    @classmethod
    def of(cls, spec: OutputSpec) -> Layout:
        """The layout of an output.

        Raises
        ------
        SinkError
            If its shape, calibration and channel axis contradict each other.
        """
        calibration = spec.calibration
        sizes = (spec.shape[0], math.prod(calibration.sizes[:-2]), *calibration.sizes[-2:])
        if sizes != tuple(spec.shape) or calibration.axes[-2:] != ("y", "x"):
            raise SinkError(f"an output of shape {spec.shape} cannot have the axes {calibration.axes} "
                            f"of sizes {calibration.sizes}")
        if spec.shape[0] != 1 and not spec.channel_axis:
            raise SinkError(f"an output of {spec.shape[0]} channels needs a channel axis")
        return cls(spec.shape, calibration.axes[:-2], calibration.sizes[:-2], spec.channel_axis)

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the array's axes."""
        return self.with_channels((*self.stack, "y", "x"), "c")

    @property
    def shape(self) -> Shape:
        """Shape of the array."""
        return self.with_channels((*self.sizes, *self.volume[2:]), self.volume[0])

    def with_channels(self, values: tuple[Any, ...], channel: Any) -> tuple[Any, ...]:
        """One value for each axis of the calibration, completed by that of c where the array has it."""
        place = 1 if self.stack[:1] == ("t",) else 0
        return (*values[:place], channel, *values[place:]) if self.channel_axis else values

    def store(self, array: Any, box: Box, data: Array) -> None:
        """Write ``data`` ``(c, *box.shape)`` into the array."""
        for index, part in self.pieces(box):
            array[index] = self._folded(data[:, part], index)

    def load(self, array: Any, box: Box) -> Array:
        """``(c, *box.shape)`` out of the array."""
        out = np.empty((self.volume[0], *box.shape), array.dtype)
        for index, part in self.pieces(box):
            found = np.asarray(array[index])
            if self.channel_axis:
                found = np.moveaxis(found, self.axes.index("c"), 0)
            out[:, part] = found.reshape(out[:, part].shape)
        return out

    def pieces(self, box: Box) -> Iterator[tuple[Index, slice]]:
        """Slices of the array that together are a box, each with the part of the box's z that it holds."""
        z, y, x = box.spans
        *outer, depth = self.sizes or (1,)
        for row in range(z.start // depth, -(-z.stop // depth)):
            run = Span(row * depth, (row + 1) * depth).intersect(z)
            inside = run.shift(-row * depth).slice
            at = np.unravel_index(row, outer) if outer else ()
            place = (*(slice(int(i), int(i) + 1) for i in at), inside) if self.sizes else ()
            index = self.with_channels((*place, y.slice, x.slice), slice(0, self.volume[0]))
            yield index, run.shift(-z.start).slice

    def _folded(self, data: Array, index: Index) -> Array:
        """``(c, z, y, x)`` in the shape and order of one slice of the array."""
        lengths = [part.stop - part.start for part in index]
        if not self.channel_axis:
            return data.reshape(lengths)
        place = self.axes.index("c")
        count = lengths.pop(place)
        return np.moveaxis(data.reshape(count, *lengths), 0, place)


def check_box(name: str, volume: VolumeShape, box: Box) -> None:
    """Refuse a box that leaves the output.

    Raises
    ------
    SinkError
        If it does.
    """
    if not Box.of_shape(volume[1:]).contains(box):
        raise SinkError(f"{name}: box {box} leaves the output of shape {volume[1:]}")


def check_array(name: str, spec: OutputSpec, layout: Layout, array: Any) -> None:
    """Refuse a stored array that is not the one that was planned.

    Raises
    ------
    DamagedError
        If its shape or its type is another.
    """
    if tuple(array.shape) != tuple(layout.shape) or np.dtype(array.dtype) != np.dtype(spec.dtype):
        raise DamagedError(f"{name} is damaged: it holds {np.dtype(array.dtype).name} of shape {tuple(array.shape)}, "
                           f"{np.dtype(spec.dtype).name} of shape {tuple(layout.shape)} was written: start anew with "
                           "`overwrite=True`")


def check_block(name: str, spec: OutputSpec, box: Box, data: Array) -> None:
    """Refuse data that are not ``(c, *box.shape)`` of the output's dtype: numpy would stretch or round them.

    Raises
    ------
    SinkError
        If they are not.
    """
    check_box(name, spec.shape, box)
    expected = (spec.shape[0], *box.shape)
    if data.shape != expected or data.dtype != spec.dtype:
        raise SinkError(f"{name}: block {box} needs {np.dtype(spec.dtype).name} of shape {expected}; "
                        f"got {data.dtype.name} of shape {data.shape}")
