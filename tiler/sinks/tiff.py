"""TIFF: uncompressed, written by region, readable by Fiji with voxel size and unit.

ImageJ's own description where type and size permit, else OME-XML, else tifffile's. All hold the voxels in one
run, in ImageJ's order of axes: t, z, c, y, x.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tiler.ports import KINDS, Array, Calibration, OutputSpec
from tiler.ports.units import NANOMETRES, seconds_per_frame, steps
from tiler.sinks.layout import Layout
from tiler.sinks.mapped import MappedSink, moved

IMAGEJ_TYPES = ("uint8", "uint16", "float32")
OME_TYPES = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64")
CLASSIC_LIMIT = 2**32 - 2**25  # offsets have 32 bits; tifffile leaves as much for tags

SYMBOLS = {"picometer": "pm", "angstrom": "Å", "nanometer": "nm", "micrometer": "µm", "millimeter": "mm",
           "centimeter": "cm", "meter": "m", "inch": "in", "millisecond": "ms", "second": "s", "minute": "min",
           "hour": "h", "day": "d", "microsecond": "µs", "nanosecond": "ns"}
MICROMETRE = NANOMETRES["micrometer"]


class TiffSink(MappedSink):
    """A TIFF file.

    Parameters
    ----------
    path
        Final name of the output.
    spec
        Specification of the output.
    limit
        Bytes of voxels from which on it is a BigTIFF, which ImageJ's own description does not allow.
    """

    def __init__(self, path: Path, spec: OutputSpec, limit: int = CLASSIC_LIMIT) -> None:
        super().__init__(path, spec)
        self.limit = limit

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.target.path, self.spec, self.limit)

    def allocate(self, path: Path) -> None:
        dtype = np.dtype(self.spec.dtype)
        order = stored_order(self.layout)
        shape = tuple(self.layout.shape[self.layout.axes.index(axis)] for axis in order)
        big = int(np.prod(shape, dtype=object)) * dtype.itemsize > self.limit
        imagej = dtype.name in IMAGEJ_TYPES and not big
        ome = dtype.name in OME_TYPES and not imagej
        axes = "".join(order).upper()
        options = imagej_options(self.spec) if imagej else ome_options(self.spec) if ome else plain_options(self.spec)
        options["metadata"] |= {"axes": axes}
        tifffile.memmap(path, shape=shape, dtype=dtype, bigtiff=big, imagej=imagej, ome=ome,
                        photometric="minisblack", **options)

    def map(self, path: Path, mode: str) -> tuple[Any, Array]:
        mapped = tifffile.memmap(path, mode="r+" if mode == "r+" else "r")
        order = stored_order(self.layout)
        shape = [self.layout.shape[self.layout.axes.index(axis)] for axis in order]
        return mapped, moved(mapped.reshape(shape), order, self.layout.axes)


def stored_order(layout: Layout) -> tuple[str, ...]:
    """The layout's axes in the order of the file, which is ImageJ's."""
    return tuple(sorted(layout.axes, key="tzcyx".index))


def imagej_options(spec: OutputSpec) -> dict[str, Any]:
    """For `tifffile.imwrite`: the interval of frames, the name of the class of every slice, and voxel sizes."""
    metadata: dict[str, Any] = {}
    interval = seconds_per_frame(spec.calibration)
    if interval is not None:
        metadata["finterval"] = interval
    if len(spec.classes) == spec.shape[0]:
        metadata["Labels"] = list(spec.classes) * spec.shape[1]
    kind = KINDS[spec.kind]
    if kind.classes == "values":  # or a mask of 0 and 1 is black in 256 grey values
        metadata |= {"min": 0.0, "max": float(max(1, spec.values - 1) * kind.step)}
    options = _imagej_sizes(spec.calibration)
    return {**options, "metadata": {**metadata, **options.get("metadata", {})}}


def _imagej_sizes(calibration: Calibration) -> dict[str, Any]:
    """ImageJ keeps one unit for x, y and z, and voxels per unit in the resolution tags.

    It is always the micron, since Bio-Formats takes the spacing of sections for microns.
    """
    sizes = _micrometres(calibration)
    if not {"y", "x"} <= sizes.keys():
        return {}
    spacing = {"spacing": sizes["z"]} if "z" in sizes else {}
    return {"resolution": (1 / sizes["x"], 1 / sizes["y"]), "metadata": {"unit": "micron", **spacing}}


def _micrometres(calibration: Calibration) -> dict[str, float]:
    """Sides of a voxel by axis, as far as they are known."""
    return {axis: scale * (NANOMETRES[unit] / MICROMETRE) for axis, (scale, unit) in steps(calibration).items()
            if unit in NANOMETRES}


def resolution_tags(calibration: Calibration) -> dict[str, Any]:
    """For `tifffile.imwrite`: voxels per centimetre, for programs that read no OME-XML; none where it is unknown."""
    sizes = _micrometres(calibration)
    if not {"y", "x"} <= sizes.keys():
        return {}
    return {"resolution": (1e4 / sizes["x"], 1e4 / sizes["y"]), "resolutionunit": "CENTIMETER"}


def ome_options(spec: OutputSpec) -> dict[str, Any]:
    """For `tifffile.imwrite`: OME-XML has a size and a unit for each axis, and names of channels."""
    names = {"x": "PhysicalSizeX", "y": "PhysicalSizeY", "z": "PhysicalSizeZ", "t": "TimeIncrement"}
    metadata: dict[str, Any] = {}
    for axis, (scale, unit) in steps(spec.calibration).items():
        if unit in SYMBOLS:
            metadata |= {names[axis]: scale, f"{names[axis]}Unit": SYMBOLS[unit]}
    if len(spec.classes) == spec.shape[0]:
        metadata["Channel"] = {"Name": list(spec.classes)}
    if spec.title:
        metadata["Name"] = spec.title
    return {"metadata": metadata, **resolution_tags(spec.calibration)}


def plain_options(spec: OutputSpec) -> dict[str, Any]:
    """For `tifffile.imwrite`: what neither ImageJ nor OME-XML can hold is described in JSON."""
    known = spec.calibration
    sizes = {axis: [scale, unit] for axis, scale, unit in zip(known.axes, known.scale, known.units, strict=True)}
    return {"metadata": {"tiler": {"voxel_size": sizes, "channels": list(spec.classes)}},
            **resolution_tags(known)}
