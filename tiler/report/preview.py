"""A preview as a picture: image, probability and objects beside each other, with a scale bar."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiler.errors import SinkError
from tiler.geometry import Box
from tiler.ports import Array
from tiler.stores.durable import replacing

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Picture = npt.NDArray[np.uint8]
RIM, HEAD = 8, 24
"""Pixels between two panels, and above them for their titles."""
LEAST = 256
"""Panels that are narrower are magnified."""
MAKER = "tiler preview"
"""Marks pictures that a later preview may replace."""


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """A window in the middle of a volume, segmented.

    Parameters
    ----------
    region
        The window in voxels of the volume, one section thick.
    image
        ``(c, y, x)`` grey values.
    values
        ``(c, y, x)``: probabilities of the classes that would be written, or labels.
    classes
        Names of the channels of ``values``.
    objects
        ``(y, x)``: objects that instances would hold in this section, numbered from 1.
    seconds
        Time that the window took.
    expected_seconds
        Estimated time of the network for the whole region, on this machine.
    pixel
        Sides y and x of a pixel in nanometres; None if unknown.
    """

    region: Box
    image: Array
    values: Array
    classes: tuple[str, ...]
    objects: Array
    seconds: float
    expected_seconds: float
    pixel: tuple[float, float] | None

    @property
    def count(self) -> int:
        """Number of objects."""
        return int(self.objects.max(initial=0))


def check_picture(path: Path, overwrite: bool) -> None:
    """Refuse a picture that cannot be written, or a file that is no preview.

    Raises
    ------
    SinkError
        The message says what to do.
    """
    if path.suffix.lower() != ".png":
        raise SinkError(f"{path} is no name of a picture: give a name that ends in .png, or put the inputs before "
                        "`preview`", option="preview")
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise SinkError(f"cannot write {path}: its folder does not exist, or it is a folder itself", option="preview")
    if path.exists() and not overwrite and not _is_preview(path):
        raise SinkError(f"{path} exists and is no preview: `overwrite=True` replaces it, or choose another name",
                        option="preview")


def _is_preview(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return bool(picture.info.get("Software") == MAKER)
    except OSError:
        return False


def write_picture(preview: Preview, path: Path) -> None:
    """Draw a preview and write it as PNG.

    Raises
    ------
    SinkError
        If it cannot be written.
    """
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text("Software", MAKER)
    try:
        with replacing(path) as draft:
            drawn(preview).save(draft, format="PNG", pnginfo=about)
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}", option="preview") from error


def drawn(preview: Preview) -> Image:
    """The three panels and their titles."""
    from PIL import Image, ImageDraw

    grey = _shown(preview.image)
    panels = [grey, _values(preview.values), _overlay(grey, preview.objects)]
    factor = max(1, -(-LEAST // grey.shape[1]))
    panels = [panel.repeat(factor, 0).repeat(factor, 1) for panel in panels]
    height, width = panels[0].shape[:2]
    sheet = np.full((HEAD + height, 3 * width + 2 * RIM, 3), 255, np.uint8)
    for place, panel in enumerate(panels):
        sheet[HEAD:, place * (width + RIM):place * (width + RIM) + width] = panel
    picture = Image.fromarray(sheet)
    pen = ImageDraw.Draw(picture)
    for place, title in enumerate(_titles(preview)):
        pen.text((place * (width + RIM) + 2, HEAD // 2), title, fill=(0, 0, 0), anchor="lm")
    if preview.pixel is not None:
        _scale_bar(pen, (height, width), preview.pixel[1] / factor)
    return picture


def _titles(preview: Preview) -> list[str]:
    names, section = preview.classes, f"image, section {preview.region.start[0]}"
    middle = f"P({names[0]})" if len(names) == 1 and preview.values.dtype.kind == "f" else names[0] \
        if len(names) == 1 else "most likely class"
    return [section, middle, f"{preview.count} objects"]


def _shown(image: Array) -> Picture:
    """``(y, x, 3)``: colours as they are, grey values between their 0.5 and 99.5 percentiles."""
    if len(image) == 3 and image.dtype == np.uint8:
        return np.ascontiguousarray(np.moveaxis(image, 0, -1))
    values = np.nan_to_num(image[0].astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = np.percentile(values, (0.5, 99.5))
    return _grey((values - low) / max(high - low, 1e-300))


def _grey(values: Array) -> Picture:
    return np.repeat(np.asarray(np.rint(np.clip(values, 0, 1) * 255), np.uint8)[..., None], 3, -1)


def _values(values: Array) -> Picture:
    """A probability in grey; the most likely of several classes, or labels, in the shades between."""
    if len(values) > 1:
        return _grey(values.argmax(0) / (len(values) - 1))
    if values.dtype.kind == "f":
        return _grey(values[0])
    return _grey(values[0] / max(1, int(values.max())))


def _overlay(grey: Picture, objects: Array) -> Picture:
    """Objects in colours over the image, their outlines in full colour."""
    colours = _colours(objects)
    inside = (objects > 0)[..., None]
    edge = np.zeros(objects.shape, bool)
    edge[:-1] |= objects[:-1] != objects[1:]
    edge[:, :-1] |= objects[:, :-1] != objects[:, 1:]
    mixed = np.where(edge[..., None], colours, grey // 2 + colours // 2)
    return np.asarray(np.where(inside, mixed, grey), np.uint8)


def _colours(objects: Array) -> Picture:
    """A colour for each number, neighbours far apart on the circle of hues."""
    hue = (objects.astype(np.float64) * 0.61803398875) % 1 * 6
    channels = [np.clip(np.abs((hue + shift) % 6 - 3) - 1, 0, 1) for shift in (0, 4, 2)]
    return np.asarray(np.rint(np.stack(channels, -1) * 215 + 40), np.uint8)


def _scale_bar(pen: ImageDraw, size: tuple[int, int], pixel: float) -> None:
    """A white bar with its length, in the lower left of the first panel; ``pixel`` is its width in nanometres."""
    length = nice_length(size[1] * pixel / 4)
    across, bottom = max(1, round(length / pixel)), HEAD + size[0] - 10
    pen.rectangle((9, bottom - 6, 11 + across, bottom + 1), fill=(0, 0, 0))
    pen.rectangle((10, bottom - 5, 10 + across, bottom), fill=(255, 255, 255))
    pen.text((10, bottom - 8), spoken_length(length), fill=(255, 255, 255), anchor="ls", stroke_width=2,
             stroke_fill=(0, 0, 0))


def nice_length(most: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten that is not above a length: 300 -> 200."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9))


def spoken_length(nanometres: float) -> str:
    """``500 nm``, ``2 µm``, ``1 mm``."""
    for factor, unit in ((1e6, "mm"), (1e3, "\u00b5m"), (1.0, "nm")):
        if nanometres >= factor:
            return f"{nanometres / factor:g} {unit}"
    return f"{nanometres:g} nm"
