"""Physical voxel sizes of TIFF files: OME-XML, ImageJ's description, or the resolution tags."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

Size = tuple[float, str | None]

MICROMETRE = "micrometer"
UNITS = {
    "pm": "picometer", "å": "angstrom", "angstrom": "angstrom", "nm": "nanometer", "nanometer": "nanometer",
    "nanometre": "nanometer", "um": MICROMETRE, "µm": MICROMETRE, "μm": MICROMETRE, "\\u00b5m": MICROMETRE,
    "micron": MICROMETRE, "microns": MICROMETRE, "micrometer": MICROMETRE, "micrometre": MICROMETRE,
    "mm": "millimeter", "millimeter": "millimeter", "millimetre": "millimeter", "cm": "centimeter",
    "centimeter": "centimeter", "m": "meter", "inch": "inch", "in": "inch", "ms": "millisecond", "s": "second",
    "sec": "second", "min": "minute", "h": "hour", "d": "day", "µs": "microsecond", "μs": "microsecond",
    "ns": "nanosecond",
}

CENTIMETRE_IN_MICROMETRES, INCH_IN_MICROMETRES = 10_000.0, 25_400.0
# Coarser than this, a resolution tag is the dots per inch of a printer or a screen (72, 96, 300, 600, 1200),
# which most image editors write unasked, and not the size of a voxel.
COARSEST_VOXEL = 10.0


def voxel_sizes(tiff: Any) -> dict[str, Size]:
    """Size and unit of a step along each of the axes t, z, y, x that the file tells.

    Parameters
    ----------
    tiff
        A `tifffile.TiffFile`.
    """
    sizes: dict[str, Size] = {}
    if tiff.is_ome and tiff.ome_metadata:
        sizes = _ome(tiff.ome_metadata)
    elif tiff.is_imagej and tiff.imagej_metadata:
        sizes = _imagej(tiff.imagej_metadata, tiff.pages.first)
    elif tiff.is_shaped:
        sizes = {axis: (float(size), unit) for axis, (size, unit) in _own(tiff).get("voxel_size", {}).items()}
    return sizes or _resolution(tiff.pages.first)


def channel_names(tiff: Any) -> tuple[str, ...]:
    """Names of the channels: OME-XML's, those that ImageJ shows with the slices, or tiler's own.

    Parameters
    ----------
    tiff
        A `tifffile.TiffFile`.
    """
    if tiff.is_ome and tiff.ome_metadata:
        pixels = _pixels(tiff.ome_metadata)
        names = () if pixels is None else tuple(channel.get("Name", "") for channel in pixels.findall("{*}Channel"))
        return names if all(names) else ()
    if tiff.is_imagej and tiff.imagej_metadata:
        count = int(tiff.imagej_metadata.get("channels", 1))
        shown = tiff.imagej_metadata.get("Labels", ())
        labels = [shown] if isinstance(shown, str) else list(shown)  # tifffile gives a single one as it is
        repeated = labels[:count] * (len(labels) // count) == labels  # elsewhere they tell slices apart
        return tuple(labels[:count]) if repeated else ()
    return tuple(_own(tiff).get("channels", ())) if tiff.is_shaped else ()


def _own(tiff: Any) -> dict[str, Any]:
    """What tiler wrote into the description of the first image."""
    described: Any = (tiff.shaped_metadata or ({},))[0]
    return described.get("tiler") or {}


def _unit(text: object) -> str | None:
    return UNITS.get(str(text).strip().lower())


def _ome(xml: str) -> dict[str, Size]:
    """Of the first image: OME-XML's default unit is the micrometre, and the second for time."""
    pixels = _pixels(xml)
    if pixels is None:
        return {}
    names = {"x": ("PhysicalSizeX", "µm"), "y": ("PhysicalSizeY", "µm"), "z": ("PhysicalSizeZ", "µm"),
             "t": ("TimeIncrement", "s")}
    return {axis: (float(pixels.attrib[name]), _unit(pixels.get(f"{name}Unit", default)))
            for axis, (name, default) in names.items() if float(pixels.get(name, 0)) > 0}


def _pixels(xml: str) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(xml).find(".//{*}Pixels")
    except ElementTree.ParseError:
        return None


def _imagej(metadata: dict[str, Any], page: Any) -> dict[str, Size]:
    """ImageJ stores voxels per unit in the resolution tags, and the unit and the rest in the description."""
    unit = _unit(metadata.get("unit", ""))
    sizes: dict[str, Size] = {}
    for axis, tag in (("x", "XResolution"), ("y", "YResolution")):
        density = _density(page, tag)
        if density and unit:
            sizes[axis] = (1 / density, unit)
    spacing = metadata.get("spacing")
    if unit and isinstance(spacing, (int, float)) and spacing:
        sizes["z"] = (abs(float(spacing)), unit)
    interval = metadata.get("finterval")
    if isinstance(interval, (int, float)) and interval > 0:
        sizes["t"] = (float(interval), _unit(metadata.get("tunit", "s")))
    return sizes


def _resolution(page: Any) -> dict[str, Size]:
    unit = int(page.tags.valueof("ResolutionUnit", 1))
    length = {2: INCH_IN_MICROMETRES, 3: CENTIMETRE_IN_MICROMETRES}.get(unit)
    found = {axis: _density(page, tag) for axis, tag in (("x", "XResolution"), ("y", "YResolution"))}
    if length is None or not all(found.values()) or length / min(found.values()) > COARSEST_VOXEL:
        return {}
    return {axis: (length / density, MICROMETRE) for axis, density in found.items()}


def _density(page: Any, tag: str) -> float:
    """Voxels per unit; 0 where the file does not say."""
    value = page.tags.valueof(tag)
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return 0.0
    return float(value[0] / value[1])
