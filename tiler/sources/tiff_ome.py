"""OME-TIFF: map each plane of an image to a page of a file, by OME-XML.

The XML is compared with the files: planes that the XML lists and no file contains are the ``problem`` of their image;
pages that the XML does not list form an image of their own.

References
----------
https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from tiler.errors import SourceError
from tiler.sources.consent import Consent
from tiler.sources.tiff_pages import Page
from tiler.sources.tiff_series import TiffSeries, series_of, stacks
from tiler.sources.tiff_table import PageTable
from tiler.sources.volume import one_line

logger = logging.getLogger(__name__)
Element = ElementTree.Element
ORDER = "XYZCT"
NAMED = 5
"""Largest number of files that a message names."""


@dataclass(eq=False)
class OmeSet:
    """The files of one OME-XML.

    Parameters
    ----------
    folder
        Folder of all files.
    tables
        Pages by file name; None for a missing file.
    own
        Name of the opened file; None if only the XML was opened.
    uuid
        UUID of that file.
    consent
        Whether it may name files outside its folder.
    """

    folder: Path
    tables: dict[str, PageTable | None]
    own: str | None
    uuid: str | None
    consent: Consent
    used: dict[str, set[int]] = field(default_factory=dict)

    def table(self, name: str) -> PageTable | None:
        """The pages of a file of the set; None if the file does not exist."""
        if name not in self.tables:
            self.tables[name] = self._open(name)
        return self.tables[name]

    def _open(self, name: str) -> PageTable | None:
        path = self.folder / name
        self.consent.outside(self.folder, path, f"the OME-XML of {self.folder / (self.own or '')}")
        if not path.is_file():
            return None
        with tifffile.TiffFile(path) as tiff:
            table = PageTable(path, tiff)
            for ifd in table.ifds:
                table.layout(ifd)  # while tifffile has the file open
        return table

    def page(self, name: str, number: int) -> Page | None:
        """A page of a file; None if the file or the page does not exist."""
        table = self.table(name)
        if table is None or number >= len(table.ifds):
            return None
        self.used.setdefault(name, set()).add(number)
        return table.page(table.ifds[number])

    def unnamed(self) -> list[Page]:
        """Pages of the files that belong to no image."""
        return [table.page(ifd) for name, table in self.tables.items() if table is not None
                for ifd in table.images if ifd.index not in self.used.get(name, set())]


def ome_images(path: Path, found: OmeSet, root: Element) -> list[TiffSeries]:
    """The images of an OME-XML, then the pages that it does not name.

    Raises
    ------
    SourceError
        If it lays out an image that its pages cannot be.
    """
    images = []
    for number, element in enumerate(root.findall("{*}Image")):
        pixels = element.find("{*}Pixels")
        if pixels is not None:
            images += _image(path, found, number, str(element.get("Name") or ""), pixels)
    if not images:
        raise SourceError(f"{path}: none of the planes that its OME-XML promises is there; {path}:pages reads its own "
                          "pages")
    extra = stacks(path, found.unnamed(), "pages that the OME-XML does not name")
    return images + extra


def parsed(xml: str) -> Element | None:
    """The root of an OME-XML, None if it cannot be read."""
    try:
        return ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError):
        return None


def metadata_file(root: Element) -> str | None:
    """Name of the file with the description, if this file holds only binary data."""
    element = root.find("{*}BinaryOnly")
    return None if element is None else str(element.get("MetadataFile") or "")


def first_file(root: Element) -> str | None:
    """Name of a file that an OME-XML names."""
    return next((str(uuid.get("FileName")) for uuid in root.iterfind(".//{*}TiffData/{*}UUID") if uuid.get("FileName")),
                None)


def companion(path: Path, name: str) -> str | None:
    """The OME-XML of a companion file, ``.companion.ome`` or another OME-TIFF; None if it is not there."""
    file = path.parent / Path(name).name
    if not file.is_file():
        return None
    try:
        with file.open("rb") as opened:
            start = opened.read(2)
        if start not in (b"II", b"MM"):
            return file.read_text(encoding="utf-8-sig")
        with tifffile.TiffFile(file) as tiff:
            xml: str | None = tiff.ome_metadata
        return xml
    except Exception as error:  # damaged files raise whatever their first wrong byte leads to
        raise SourceError(f"{file}, which describes {path}, cannot be read: {one_line(error)}") from error


def _image(path: Path, found: OmeSet, number: int, label: str, pixels: Element) -> list[TiffSeries]:
    """The image of a Pixels element; none where not one of its pages is there."""
    order = str(pixels.get("DimensionOrder") or ORDER)
    axes = order[:1:-1] if sorted(order) == sorted(ORDER) and order.startswith("XY") else ORDER[:1:-1]
    sizes = {axis: max(1, _number(pixels, f"Size{axis}", 1)) for axis in "ZCT"}
    _fit_samples(found, pixels, sizes)
    shape = [sizes[axis] for axis in axes]
    places, names = dict[int, Page](), list[str]()
    for place, name, ifd in _named(found, pixels, axes, shape):
        page = found.page(name, ifd) if place < math.prod(shape) else None
        if page is not None:
            places[place] = page
        elif found.table(name) is None and name not in names:
            names.append(name)
    if not places:
        logger.warning("%s: its OME-XML promises the image %r of %d planes, and none of them is there%s", path,
                       label or number, math.prod(shape), _missing(names))
        return []
    problem = _problem(math.prod(shape), len(places), names)
    pages = [places.get(place) for place in range(math.prod(shape))]
    return [series_of(path, label, axes, shape, pages, problem=problem, number=number)]


def _problem(promised: int, there: int, names: list[str]) -> str:
    if there == promised:
        return ""
    return f"its OME-XML promises {promised} planes, {there} of them are there{_missing(names)}"


def _missing(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f" (missing: {', '.join(names[:NAMED])}{more})" if names else ""


def _fit_samples(found: OmeSet, pixels: Element, sizes: dict[str, int]) -> None:
    """Take what a page holds (samples of a pixel, slices of a volumetric page) off the counts of planes."""
    for _, name, ifd in _named(found, pixels, "TCZ", [sizes[axis] for axis in "TCZ"]):
        page = found.page(name, ifd)
        if page is not None:
            held = {"C": page.layout.shape[0] * page.layout.shape[4], "Z": page.layout.shape[1]}
            for axis, count in held.items():
                if sizes[axis] % count == 0:
                    sizes[axis] //= count
            return


def _named(found: OmeSet, pixels: Element, axes: str, shape: list[int]) -> Iterator[tuple[int, str, int]]:
    """``(place in the grid, file, page)`` of all planes that TiffData elements name."""
    elements: list[Element] = pixels.findall("{*}TiffData") or [ElementTree.Element("TiffData")]
    for data in elements:
        uuid = data.find("{*}UUID")
        name = _file(found, uuid)
        if name is None:
            continue
        table = found.table(name)
        whole = 0 if table is None else len(table.ifds)
        first = _number(data, "IFD", 0)
        count = _number(data, "PlaneCount", _number(data, "NumPlanes", 1 if "IFD" in data.attrib else 0)) or whole or 1
        at = [_number(data, f"First{axis}", 0) for axis in axes]
        if all(place < size for place, size in zip(at, shape, strict=True)):
            start = sum(place * math.prod(shape[i + 1:]) for i, place in enumerate(at))
            for step in range(min(count, math.prod(shape) + whole)):
                yield start + step, name, first + step


def _file(found: OmeSet, uuid: Element | None) -> str | None:
    """Name of the file to which a TiffData element refers: by UUID, else by name, else the file itself."""
    if uuid is None:
        return found.own
    name = uuid.get("FileName")
    if found.own is not None and (name is None or (uuid.text or "").strip() == (found.uuid or "").strip() != ""):
        return found.own
    if found.own is not None and str(name).lower() == found.own.lower():
        return found.own
    return None if name is None else str(name)


def _number(element: Element, name: str, default: int) -> int:
    """A count among the attributes; the default if it is not a valid count."""
    attributes: Mapping[str, str] = element.attrib
    try:
        return max(0, int(attributes[name]))
    except (KeyError, ValueError):
        return default
