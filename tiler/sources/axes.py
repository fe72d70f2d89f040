"""Map an n-D array with named axes to the volume (c, z, y, x), and a box back to the smallest slice.

::

    array    t c z y x s        any subset of these that holds y and x, in any order
    volume   c z y x            channel = c * samples + s;  z = t * depth + z  (time is folded into z)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.geometry import Box, Shape, Span
from tiler.ports import Array, VolumeShape
from tiler.sources.raw import Index

CANONICAL = "tcszyx"  # the order in which an array is folded into a volume
UNKNOWN = "?"
Channels = str | int | Sequence[int | str] | None
WORDS = {
    "time": "t", "frame": "t", "frames": "t", "channel": "c", "channels": "c", "band": "c", "sample": "s",
    "samples": "s", "depth": "z", "plane": "z", "planes": "z", "slice": "z", "section": "z", "row": "y", "rows": "y",
    "height": "y", "column": "x", "columns": "x", "col": "x", "cols": "x", "width": "x",
}
"""Names of axes that other programs use."""


def letter_of(name: Any) -> str | None:
    """Letter of an axis by its name; None for an unknown name."""
    text = name.strip().lower() if isinstance(name, str) else ""
    return text if len(text) == 1 and text in CANONICAL else WORDS.get(text)


def named_axes(names: Any, ndim: int) -> str | None:
    """One letter per axis, if all names are known and include y and x; else None."""
    letters = [letter_of(name) for name in names] if isinstance(names, (list, tuple)) else []
    known = [letter for letter in letters if letter]
    told = len(known) == len(letters) == ndim == len(set(known)) and {"y", "x"} <= set(known)
    return "".join(known) if told else None


@dataclass(frozen=True, slots=True)
class View:
    """Mapping between an array and the volume.

    Parameters
    ----------
    axes
        One letter per axis of the array.
    sizes
        Lengths of the axes.
    channels
        Channels of the volume, in its order.
    time
        The chosen time point; None if all are folded into z.
    """

    axes: str
    sizes: tuple[int, ...]
    channels: tuple[int, ...]
    time: int | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        """Axes of the array that the volume keeps, in canonical order."""
        return tuple(axis for axis in "tzyx" if axis in self.axes and not (axis == "t" and self.time is not None))

    @property
    def shape(self) -> VolumeShape:
        times = 1 if self.time is not None else self.size("t")
        return len(self.channels), times * self.size("z"), self.size("y"), self.size("x")

    def size(self, axis: str) -> int:
        """Length of an axis of the array; 1 if it has no such axis."""
        return self.sizes[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def count(self) -> int:
        """Channels of the array, chosen or not."""
        return self.size("c") * self.size("s")

    def unit(self, chunk: Shape) -> Shape:
        """``(z, y, x)`` of the volume that one chunk of the array covers."""
        named = dict(zip(self._stacked, chunk, strict=True))
        return tuple(named.get(axis, 1) for axis in "zyx")

    def read(self, box: Box, fetch: Callable[[Index], Array]) -> Array:
        """``(c, *box.shape)``, from as few and as small slices of the array as hold it."""
        z, y, x = box.spans
        slabs = [self._slab(t, Box((within, y, x)), fetch) for t, within in self._split(z)]
        return slabs[0] if len(slabs) == 1 else np.concatenate(slabs, axis=1)

    @property
    def _stacked(self) -> str:
        """The axes with time in the place of z where there is no z: then several time points are one slice."""
        return self.axes.replace("t", "z") if self.time is None and "z" not in self.axes else self.axes

    def _split(self, z: Span) -> Iterator[tuple[int, Span]]:
        """The time points that a span of the volume's z touches, and the span of z in each."""
        if self.time is not None or "t" not in self._stacked:
            yield self.time or 0, z
            return
        depth = self.size("z")
        for t in range(z.start // depth, -(-z.stop // depth)):
            yield t, Span(t * depth, (t + 1) * depth).intersect(z).shift(-t * depth)

    def indices(self, box: Box) -> list[Index]:
        """The slices of the array that hold a box of the volume, one for each time point."""
        z, y, x = box.spans
        return [self._index(t, Box((within, y, x))) for t, within in self._split(z)]

    def _index(self, t: int, box: Box) -> Index:
        planes, samples = _grid(self.channels, self.size("s"))
        wanted = dict(zip("zyx", box.slices, strict=True))
        wanted |= {"t": slice(t, t + 1), "c": planes.slice, "s": samples.slice}
        return tuple(wanted[axis] for axis in self._stacked)

    def _slab(self, t: int, box: Box, fetch: Callable[[Index], Array]) -> Array:
        """``(c, *box.shape)`` at one time point; ``box`` is in that time point's coordinates."""
        planes, samples = _grid(self.channels, self.size("s"))
        raw = fetch(self._index(t, box))
        order = sorted(range(raw.ndim), key=lambda i: CANONICAL.index(self._stacked[i]))
        volume = raw.transpose(order).reshape(planes.size * samples.size, *box.shape)
        picked = _places(self.channels, self.size("s"), planes, samples)
        return volume if picked == list(range(len(volume))) else volume[picked]


def _grid(channels: Sequence[int], samples: int) -> tuple[Span, Span]:
    """The spans of c and of s that hold all of these channels."""
    c, s = zip(*(divmod(channel, samples) for channel in channels), strict=True)
    return Span(min(c), max(c) + 1), Span(min(s), max(s) + 1)


def _places(channels: Sequence[int], samples: int, planes: Span, within: Span) -> list[int]:
    """Index of each channel in the voxels that were read."""
    pairs = (divmod(channel, samples) for channel in channels)
    return [(c - planes.start) * within.size + s - within.start for c, s in pairs]


def view_of(*, name: str, axes: str, shape: Shape, override: str | None, names: tuple[str, ...] = (),
            channel: Channels = None, time: int | None = None) -> View:
    """Identify the axes, and check the choice of channels and of a time point.

    Parameters
    ----------
    name
        Name of the source in messages.
    axes, shape
        Axes and shape of the array; ``?`` for an axis that its format does not name.
    override
        One letter per axis; takes precedence over the format.
    names
        Names of the channels, if the format stores them.
    channel
        ``"0"``, ``"0,2"``, ``"membrane"``, ``"all"`` or None for all, or numbers.
    time
        One time point, or None for all.

    Raises
    ------
    SourceError
        The message is one line and names the option to change.
    """
    axes = _overridden(name, shape, override) if override is not None else _named(name, axes, shape)
    sizes = dict(zip(axes, shape, strict=True))
    count = math.prod(sizes.get(axis, 1) for axis in "cs")
    if time is not None and not 0 <= time < sizes.get("t", 1):
        raise SourceError(f"{name} has {sizes.get('t', 1)} time points, 0 to {sizes.get('t', 1) - 1}; got {time}")
    chosen = _channels(name, channel, names if len(names) == count else ("",) * count)
    return View(axes, tuple(shape), chosen, time if "t" in axes else None)


def _overridden(name: str, shape: Shape, override: str) -> str:
    axes = override.lower()
    if len(axes) != len(shape):
        raise SourceError(f"{name} has {len(shape)} axes, of shape {shape}; got {len(axes)} names: "
                          f"{override!r} (`axes`)")
    if set(axes) - set(CANONICAL) or len(set(axes)) != len(axes) or not {"y", "x"} <= set(axes):
        raise SourceError("axes are named once each by t, c, z, y, x and s (the samples of a pixel), with y and x "
                          f"among them; got {override!r} (`axes`)")
    return axes


def _named(name: str, axes: str, shape: Shape) -> str:
    """Name unnamed axes z, c and t, from the last to the first."""
    known = axes.lower()
    free = [axis for axis in "zct" if axis not in known and not (axis == "c" and "s" in known)]
    for place in range(len(known) - 1, -1, -1):
        if known[place] == UNKNOWN and free:
            known = known[:place] + free.pop(0) + known[place + 1:]
    if set(known) - set(CANONICAL) or len(set(known)) != len(known) or not {"y", "x"} <= set(known):
        raise SourceError(f"{name} has axes {axes.upper()!r} of shape {shape}, which tiler cannot place: name "
                          "them by t, c, z, y, x and s (`axes`)")
    return known


def _channels(name: str, channel: Channels, names: tuple[str, ...]) -> tuple[int, ...]:
    count = len(names)
    if channel is None or channel == "all":
        return tuple(range(count))
    words = channel.split(",") if isinstance(channel, str) else [channel] if isinstance(channel, int) else channel
    try:
        chosen = tuple(names.index(word) if names.count(word) == 1 and not str(word).isdigit() else int(word)
                       for word in words)
    except ValueError:
        known = f"; {name} has {', '.join(names)}" if any(names) else ""
        raise SourceError("channels are numbers such as 0 or 0,2, or their names, or all; "
                          f"got {channel!r} (`channel`){known}") from None
    if not chosen or not all(0 <= number < count for number in chosen):
        raise SourceError(f"{name} has {count} channel{'s' * (count > 1)}, 0 to {count - 1}; "
                          f"got {channel!r} (`channel`)")
    return chosen
