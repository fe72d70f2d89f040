"""TIFF: uncompressed, written by region, readable by Fiji with voxel size and unit.

ImageJ's own description where type and size permit, else OME-XML, else tifffile's. All hold the voxels in one
run, in ImageJ's order of axes: t, z, c, y, x.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tiler.ports import Array, Calibration, OutputSpec
from tiler.sinks.mapped import MappedSink, moved

IMAGEJ_TYPES = ("uint8", "uint16", "float32")
OME_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
CLASSIC_LIMIT = 2**32 - 2**25  # offsets have 32 bits; tifffile leaves as much for tags

SYMBOLS = {"picometer": "pm", "angstrom": "Å", "nanometer": "nm", "micrometer": "µm", "millimeter": "mm",
           "centimeter": "cm", "meter": "m", "inch": "in", "millisecond": "ms", "second": "s", "minute": "min",
           "hour": "h"}
IMAGEJ_UNITS = {"nanometer": "nm", "micrometer": "micron", "millimeter": "mm", "centimeter": "cm", "meter": "m",
                "picometer": "pm", "inch": "inch"}


class TiffSink(MappedSink):
    """A TIFF file.

    Parameters
    ----------
    path
        Final name of the output; ``.ome.tif`` asks for OME-XML.
    spec
        What is written.
    limit
        Bytes of voxels from which on it is a BigTIFF, which ImageJ's own description does not allow.
    """

    def __init__(self, path: Path, spec: OutputSpec, limit: int = CLASSIC_LIMIT) -> None:
        super().__init__(path, spec)
        self.limit = limit

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.target.path, self.spec, self.limit)

    @property
    def stored_axes(self) -> tuple[str, ...]:
        """The layout's axes in the order of the file."""
        return tuple(sorted(self.layout.axes, key="tzcyx".index))

    def allocate(self, path: Path) -> None:
        dtype = np.dtype(self.spec.dtype)
        shape = tuple(self.layout.shape[self.layout.axes.index(axis)] for axis in self.stored_axes)
        big = int(np.prod(shape, dtype=object)) * dtype.itemsize > self.limit
        imagej = dtype.name in IMAGEJ_TYPES and not big and ".ome." not in self.target.path.name
        ome = dtype.name in OME_TYPES and not imagej
        axes = "".join(self.stored_axes).upper()
        options = imagej_options(self.spec.calibration) if imagej else ome_options(self.spec) if ome else {}
        options["metadata"] = {**options.get("metadata", {}), "axes": axes}
        tifffile.memmap(path, shape=shape, dtype=dtype, bigtiff=big, imagej=imagej, ome=ome,
                        photometric="minisblack", **options)

    def map(self, path: Path, mode: str) -> tuple[Any, Array]:
        mapped = tifffile.memmap(path, mode="r+" if mode == "r+" else "r")
        shape = [self.layout.shape[self.layout.axes.index(axis)] for axis in self.stored_axes]
        return mapped, moved(mapped.reshape(shape), self.stored_axes, self.layout.axes)


def _steps(calibration: Calibration) -> dict[str, tuple[float, str]]:
    """Scale and unit of the axes whose unit is known."""
    named = zip(calibration.axes, calibration.scale, calibration.units, strict=True)
    return {axis: (scale, unit) for axis, scale, unit in named if unit}


def imagej_options(calibration: Calibration) -> dict[str, Any]:
    """For `tifffile.imwrite`: ImageJ keeps one unit for x, y and z, and voxels per unit in the resolution tags."""
    steps = _steps(calibration)
    metadata: dict[str, Any] = {}
    options: dict[str, Any] = {"metadata": metadata}
    if "t" in steps and steps["t"][1] == "second":
        metadata["finterval"] = steps["t"][0]
    (width, unit), (height, other) = steps.get("x", (1.0, "")), steps.get("y", (1.0, ""))
    if unit == other and unit in IMAGEJ_UNITS:
        options["resolution"] = (1 / width, 1 / height)
        metadata["unit"] = IMAGEJ_UNITS[unit]
        if steps.get("z", (1.0, ""))[1] == unit:
            metadata["spacing"] = steps["z"][0]
    return options


def ome_options(spec: OutputSpec) -> dict[str, Any]:
    """For `tifffile.imwrite`: OME-XML has a size and a unit for each axis, and names of channels."""
    names = {"x": "PhysicalSizeX", "y": "PhysicalSizeY", "z": "PhysicalSizeZ", "t": "TimeIncrement"}
    metadata: dict[str, Any] = {}
    for axis, (scale, unit) in _steps(spec.calibration).items():
        if unit in SYMBOLS:
            metadata |= {names[axis]: scale, f"{names[axis]}Unit": SYMBOLS[unit]}
    if spec.channel_axis and len(spec.classes) == spec.shape[0]:
        metadata["Channel"] = {"Name": list(spec.classes)}
    return {"metadata": metadata}
