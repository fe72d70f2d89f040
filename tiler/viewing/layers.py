"""Decide how an input is displayed: as a grey image, as probabilities or as labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from tiler.evaluation.meaning import Written, written_by_tiler
from tiler.ports import KINDS, Array, Calibration
from tiler.sources import open_source
from tiler.viewing.lazy import LazyVolume
from tiler.viewing.levels import Level, attributes_of, open_levels

MOST_CHANNELS = 8
"""Largest number of channels displayed of one input."""
SAMPLE = 512
"""Side of the sample from which grey values are estimated, in voxels along y and x."""
MANY_VALUES = 64
"""A uint8 sample with more distinct values than this does not hold labels."""
GREY = ("#ffffff",)
RGB = ("#ff0000", "#00ff00", "#0000ff")
OVERLAYS = ("#ff4040", "#40c0ff", "#ffd040", "#60e060", "#ff60ff", "#40ffff", "#ffa060", "#a080ff")


class Display(StrEnum):
    """How a layer is displayed."""

    IMAGE = "image"
    PROBABILITIES = "probabilities"
    LABELS = "labels"


@dataclass(frozen=True, slots=True)
class ViewLayer:
    """One channel of an input, ready for display.

    Parameters
    ----------
    name
        Title of the layer.
    kind
        How the layer is displayed.
    levels
        Voxels, the finest level first.
    calibration
        Axes and physical sizes of the finest level.
    window
        Values displayed as black (or clear) and as full colour.
    color
        Colour of an image or of probabilities, as ``#rrggbb``.
    inverted
        Whether 1 - P is displayed instead of P, such as membranes where P(cell) is stored.
    colors
        Colours of label values, as ``#rrggbb``; empty if the file has none.
    values
        Class labels other than background; empty if labels are ids of objects.
    """

    name: str
    kind: Display
    levels: tuple[Level, ...]
    calibration: Calibration
    window: tuple[float, float] = (0.0, 1.0)
    color: str = GREY[0]
    inverted: bool = False
    colors: Mapping[int, str] = field(default_factory=dict)
    values: tuple[int, ...] = ()

    @property
    def array(self) -> LazyVolume:
        return self.levels[0].array


def layers_of(source: Any, *, image: bool, axes: str | None = None) -> list[ViewLayer]:
    """Make a layer of each channel of an input, of at most `MOST_CHANNELS`.

    Parameters
    ----------
    source
        Input, as for `tiler.open_volume`.
    image
        Whether the input is the image and not a result. The metadata of files that tiler wrote take precedence.
    axes
        Names of the axes, as for `tiler.open_volume`.

    Raises
    ------
    SourceError
        The input cannot be read.
    """
    opened = open_source(source, axes=axes)
    written = written_by_tiler(source)
    names = _channel_names(getattr(opened, "channels", ()), written, opened.shape[0])
    levels = [open_levels(source, channel, axes) for channel in range(min(opened.shape[0], MOST_CHANNELS))]
    samples = [_sample(each[-1].array) for each in levels]
    kind = _kind(written, samples[0], image)
    made = []
    for number, (pyramid, sample) in enumerate(zip(levels, samples, strict=True)):
        look = _values(source, written) if kind is Display.LABELS else _look(kind, sample, number, names)
        name = _name(_stem(opened.name), kind, names[number], bool(look.get("inverted")))
        made.append(ViewLayer(name, kind, pyramid, opened.calibration, **look))
    return made


def labels_in(source: str) -> list[str]:
    """Return the label images that an OME-Zarr image lists, as paths; none for any other input."""
    place = source.rstrip("/")
    names = attributes_of(f"{place}/labels").get("labels") if place.endswith(".zarr") else None
    return [f"{place}/labels/{name}" for name in names or ()]


def _name(stem: str, kind: Display, channel: str, inverted: bool) -> str:
    if kind is Display.PROBABILITIES and channel:
        channel = f"{'1 - ' if inverted else ''}P({channel})"
    return f"{stem} {channel}".strip()


def _stem(name: str) -> str:
    """Return the name of a file without folders and suffixes, and for a zarr the path inside it."""
    path = Path(name)
    for part in (path, *path.parents):
        if part.suffix == ".zarr" and part != path:
            return f"{part.stem}/{path.relative_to(part).as_posix()}"
    return path.name.split(".")[0] or name


def _channel_names(given: Sequence[str], written: Written, count: int) -> list[str]:
    """Take names of channels from the provenance, else from the format, else number them."""
    for names in (written.classes if written.names == "channels" else (), given):
        if len(names) == count:
            return list(names)
    return [str(number) for number in range(count)] if count > 1 else [""]


def _sample(array: LazyVolume) -> Array:
    """Read the middle of the middle slice."""
    middle = [size // 2 for size in array.shape[:-2]]
    inside = [slice(max(0, (size - SAMPLE) // 2), (size + SAMPLE) // 2) for size in array.shape[-2:]]
    return array[(*middle, *inside)]


def _kind(written: Written, sample: Array, image: bool) -> Display:
    """Take the kind from the provenance, or else from the position on the command line and the values."""
    if written.kind in KINDS:
        return Display.PROBABILITIES if KINDS[written.kind].ordered else Display.LABELS
    if image:
        return Display.IMAGE
    if sample.dtype.kind == "f":
        return Display.PROBABILITIES if np.nanmin(sample) >= 0 and np.nanmax(sample) <= 1 else Display.IMAGE
    grey = sample.dtype == np.uint8 and np.unique(sample).size > MANY_VALUES
    return Display.PROBABILITIES if grey else Display.LABELS


def _look(kind: Display, sample: Array, number: int, names: Sequence[str]) -> dict[str, Any]:
    """Choose window and colour of a channel; a channel that would cover most of the image is inverted."""
    if kind is Display.PROBABILITIES:
        top = float(np.iinfo(sample.dtype).max) if sample.dtype.kind in "iu" else 1.0
        covers = len(names) == 1 and bool(np.nanmean(sample) > top / 2)
        return {"window": (0.0, top), "color": OVERLAYS[number], "inverted": covers}
    if len(names) == len(RGB) and sample.dtype == np.uint8:  # separate windows would change the colours
        return {"window": (0.0, 255.0), "color": RGB[number]}
    return {"window": grey_window(sample), "color": OVERLAYS[number] if len(names) > 1 else GREY[0]}


def grey_window(sample: Array) -> tuple[float, float]:
    """Return the grey values displayed as black and white: the 0.5 and 99.5 percentiles of a sample.

    Bounds of integers are whole numbers; the window is never empty.
    """
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, (0.5, 99.5))
    if sample.dtype.kind in "iu":
        return float(np.floor(low)), float(max(np.ceil(high), np.floor(low) + 1))
    return float(low), float(high if high > low else low + 1)


def _values(source: Any, written: Written) -> dict[str, Any]:
    """Take colours of labels from OME-NGFF metadata and values of classes from the provenance."""
    shown = attributes_of(source).get("image-label", {}).get("colors") or ()
    colors = {int(entry["label-value"]): "#" + bytes(entry["rgba"][:3]).hex() for entry in shown if "rgba" in entry}
    classes = [number * written.step for number in range(1, len(written.classes))] if written.names == "values" else ()
    return {"colors": colors, "values": tuple(classes)}
