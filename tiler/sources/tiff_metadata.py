"""Physical voxel sizes and names of channels of TIFF files: OME-XML, ImageJ's description, or the resolution tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from tiler.ports.units import unit_of
from tiler.sources.values import json_of, list_of, mapping_of, names_of, number_of, size_of

Size = tuple[float, str | None]

MICROMETRE = "micrometer"
CENTIMETRE_IN_MICROMETRES, INCH_IN_MICROMETRES = 10_000.0, 25_400.0
# Coarser than this, a resolution tag is the dots per inch of a printer or a screen (72, 96, 300, 600, 1200),
# which most image editors write unasked, and not the size of a voxel.
COARSEST_VOXEL = 10.0
OME_SIZES = {"x": ("PhysicalSizeX", "µm"), "y": ("PhysicalSizeY", "µm"), "z": ("PhysicalSizeZ", "µm"),
             "t": ("TimeIncrement", "s")}


@dataclass(frozen=True, slots=True)
class Told:
    """Metadata of a file about its voxels.

    Parameters
    ----------
    ome
        Root of the OME-XML.
    imagej
        ImageJ's description.
    own
        Metadata that tiler wrote.
    densities
        Voxels per unit along x and y; 0 if unknown.
    resolution_unit
        Length of that unit in micrometres; None if unknown.
    """

    ome: ElementTree.Element | None = None
    imagej: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)
    densities: Mapping[str, float] = field(default_factory=dict)
    resolution_unit: float | None = None

    def sizes(self, number: int, name: str) -> dict[str, Size]:
        """Size and unit of a step along those of the axes t, z, y and x that the file describes.

        Parameters
        ----------
        number
            Index of the image in the OME-XML.
        name
            Name of the file, for warnings.
        """
        if self.ome is not None:
            return self._ome(number, name)
        if self.imagej:
            sizes = self._imagej(name)
        else:
            pairs = ((axis, list_of(told)) for axis, told in mapping_of(self.own.get("voxel_size")).items())
            known = {axis: (size_of(name, f"voxel size {axis}", pair[0]), unit_of(pair[1]))
                     for axis, pair in pairs if pair and len(pair) == 2}
            sizes = {axis: (size, unit) for axis, (size, unit) in known.items() if size}
        return sizes or self._resolution()

    def channels(self, number: int) -> tuple[str, ...]:
        """Names of the channels: OME-XML's, those that ImageJ shows with the slices, or tiler's own."""
        if self.ome is not None:
            pixels = self._pixels(number)
            return () if pixels is None else names_of([each.get("Name") for each in pixels.findall("{*}Channel")])
        if self.imagej:
            count = int(number_of(self.imagej.get("channels")) or 1)
            shown = self.imagej.get("Labels", ())
            labels = [shown] if isinstance(shown, str) else list_of(shown) or []  # tifffile gives one as it is
            repeated = labels[:count] * (len(labels) // count) == labels  # elsewhere they tell slices apart
            return names_of(labels[:count]) if repeated else ()
        return names_of(self.own.get("channels"))

    def _pixels(self, number: int) -> ElementTree.Element | None:
        images = [] if self.ome is None else self.ome.findall("{*}Image")
        return images[number].find("{*}Pixels") if number < len(images) else None

    def _ome(self, number: int, name: str) -> dict[str, Size]:
        """OME-XML's default unit is the micrometre, and the second for time."""
        pixels = self._pixels(number)
        sizes: dict[str, Size] = {}
        if pixels is None:
            return sizes
        for axis, (attribute, default) in OME_SIZES.items():
            size = size_of(name, attribute, pixels.get(attribute))
            if size:
                sizes[axis] = size, unit_of(pixels.get(f"{attribute}Unit", default))
        return sizes

    def _imagej(self, name: str) -> dict[str, Size]:
        """ImageJ stores voxels per unit in the resolution tags, and the unit and the rest in the description."""
        unit = unit_of(self.imagej.get("unit"))
        sizes: dict[str, Size] = {axis: (1 / density, unit) for axis, density in self.densities.items()
                                  if density and "unit" in self.imagej}
        spacing = number_of(self.imagej.get("spacing"))
        if spacing and "unit" in self.imagej:
            sizes["z"] = (abs(spacing), unit)
        interval = number_of(self.imagej.get("finterval"))
        if interval and interval > 0:
            sizes["t"] = (interval, unit_of(self.imagej.get("tunit", "s")))
        return sizes

    def _resolution(self) -> dict[str, Size]:
        if self.resolution_unit is None or len(self.densities) < 2 or not all(self.densities.values()):
            return {}
        found = {axis: self.resolution_unit / density for axis, density in self.densities.items()}
        if max(found.values()) > COARSEST_VOXEL:
            return {}
        return {axis: (size, MICROMETRE) for axis, size in found.items()}


def told_of(tiff: Any) -> Told:
    """Metadata of a file that is not an OME-TIFF.

    Parameters
    ----------
    tiff
        A `tifffile.TiffFile`.
    """
    page = tiff.pages.first
    unit = number_of(page.tags.valueof("ResolutionUnit", 1))
    own = mapping_of(json_of(page.shaped_description)).get("tiler")
    return Told(
        imagej=mapping_of(tiff.imagej_metadata) if tiff.is_imagej else {}, own=mapping_of(own),
        densities={axis: _density(page, tag) for axis, tag in (("x", "XResolution"), ("y", "YResolution"))},
        resolution_unit={2: INCH_IN_MICROMETRES, 3: CENTIMETRE_IN_MICROMETRES}.get(int(unit or 1)),
    )


def _density(page: Any, tag: str) -> float:
    """Voxels per unit; 0 if the file does not contain it."""
    value = page.tags.valueof(tag)
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return 0.0
    return float(value[0] / value[1])
