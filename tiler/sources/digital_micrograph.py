"""Files of Gatan's DigitalMicrograph (``.dm3 .dm4``), read by region.

A file is a tree of tags; the voxels of each image in it are one array, uncompressed, whose place is found without
reading it. Of several images (a thumbnail comes first) the largest is read. The format is not published by its makers;
this follows its description by Jeffries and Harwood at
https://personal.ntu.edu.sg/cbb/info/dmformat/index.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.ports.units import unit_of
from tiler.sources.consent import Consent
from tiler.sources.files import existing, file_identity
from tiler.sources.micrograph_tags import Block, tags_of, text_of
from tiler.sources.positions import FileBytes, read_region
from tiler.sources.raw import Header, Index, unknown_axes

TYPES = {1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8", 14: "u1", 39: "i8", 40: "u8"}
"""Types of voxels by the tag ``DataType``."""

REFUSED = {3: "complex numbers", 5: "packed complex numbers", 8: "RGB pixels", 13: "complex numbers",
           23: "RGB pixels"}
"""Types that are not grey values."""


@dataclass(frozen=True, slots=True)
class MicrographImage:
    """The voxels of an image in a DM3 or DM4 file."""

    header: Header
    file: FileBytes = field(repr=False)
    offset: int

    def fetch(self, index: Index) -> Array:
        return read_region(self.file, self.offset, self.header.shape, self.header.dtype, index)

    def identity(self) -> Json:
        return file_identity(self.file.path)


def open_micrograph(path: Path, consent: Consent | None = None) -> MicrographImage:
    """Open a DM3 or DM4 file; reads only its tags.

    Raises
    ------
    SourceError
        If it is missing, truncated, or does not hold grey values.
    """
    path = existing(path)
    file = FileBytes(path)
    order, tags = tags_of(path, file)
    images = [image["ImageData"] for image in _items(tags.get("ImageList")) if "ImageData" in image]
    images = [image for image in images if isinstance(image.get("Data"), Block)]
    if not images:
        raise SourceError(f"{path} holds no image")
    image = max(images, key=lambda found: math.prod(_shape(found)))
    header, block = _header(file, image, order), image["Data"]
    end = block.offset + math.prod(header.shape) * header.dtype.itemsize
    if block.bytes < end - block.offset or file.size < end:
        raise SourceError(f"{path} is truncated: it promises {header.shape} voxels of {header.dtype.name}, {end} bytes "
                          f"in all, the file has {file.size}")
    return MicrographImage(header, file, block.offset)


def _items(group: Any) -> list[Mapping[str, Any]]:
    """The groups in a list of groups."""
    return [each for each in group.values() if isinstance(each, Mapping)] if isinstance(group, Mapping) else []


def _shape(image: Mapping[str, Any]) -> tuple[int, ...]:
    """Lengths of the axes, slowest first; those of one voxel before y and x are left out."""
    sizes = [int(size) for size in image.get("Dimensions", {}).values()][::-1]
    while len(sizes) > 2 and sizes[0] == 1:
        del sizes[0]
    return tuple(sizes)


def _header(file: FileBytes, image: Mapping[str, Any], order: str) -> Header:
    path, shape, kind = file.path, _shape(image), int(image.get("DataType", 0))
    if kind not in TYPES:
        raise SourceError(f"{path} holds {REFUSED.get(kind, f'voxels of type {kind}')}, not grey values: export it "
                          "from DigitalMicrograph as a greyscale image")
    if len(shape) < 2 or min(shape) < 1:
        raise SourceError(f"{path} holds an array of shape {shape}, which is not an image")
    axes = {2: "yx", 3: "zyx"}.get(len(shape), unknown_axes(len(shape)))
    known = _items(image.get("Calibrations", {}).get("Dimension"))[: len(shape)]
    steps = [_step(each, text_of(each.get("Units"), file, order)) for each in known][::-1]
    if len(steps) < len(shape):
        steps = [(1.0, None, 0.0)] * len(shape)
    scale, units, offset = zip(*steps, strict=True)
    return Header(str(path), axes, shape, np.dtype(order + TYPES[kind]), (1,) * len(shape), scale, units, offset)


def _step(calibration: Mapping[str, Any], units: str) -> tuple[float, str | None, float]:
    """Size of a voxel, unit, and place of the first voxel; a voxel of size 1 where the unit is not known."""
    scale, origin = float(calibration.get("Scale", 1.0)), float(calibration.get("Origin", 0.0))
    unit = unit_of(units)
    if unit is None or not (math.isfinite(scale) and scale > 0 and math.isfinite(origin)):
        return 1.0, None, 0.0
    return scale, unit, -origin * scale
