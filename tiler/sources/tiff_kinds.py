"""The images of TIFF files by the kind of description they carry: tifffile's own, ImageJ's, a vendor's, or none."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tiler.errors import SourceError
from tiler.sources.axes import UNKNOWN
from tiler.sources.raw import unknown_axes
from tiler.sources.tiff_ifds import Ifd
from tiler.sources.tiff_pages import PageFormat
from tiler.sources.tiff_series import TiffSeries, series_of, stacks, told_as
from tiler.sources.tiff_table import PageTable

logger = logging.getLogger(__name__)

VENDORS = ("lsm", "mmstack", "ndtiff", "fluoview", "stk", "sis", "svs", "scn", "qpi", "ndpi", "bif", "avs", "eer",
           "philips", "scanimage", "nih", "mdgel")
"""Kinds of files whose page order tifffile knows."""
ASIDE = frozenset({"Thumbnail", "Label", "Macro", "Map", "Overview"})
"""Names that these formats use for series other than the image."""


def plain_images(table: PageTable) -> list[TiffSeries]:
    """Stack pages of one shape and type, regardless of descriptions."""
    return stacks(table.path, [table.page(ifd) for ifd in table.images])


def is_vendor(tiff: Any) -> bool:
    return any(getattr(tiff, f"is_{kind}", False) for kind in VENDORS)


def vendor_images(table: PageTable) -> list[TiffSeries]:
    """Images as tifffile assembles them; each page is still decoded by its own tags."""
    found = table.tiff.series
    if {series.kind for series in found} <= {"uniform", "generic"}:
        return plain_images(table)
    tables = {str(table.path): table}

    def page(told: Any) -> Any:
        if told is None:
            return None
        name = str(told.parent.filehandle.path)
        if name not in tables:
            tables[name] = PageTable(Path(name), told.parent)
        return tables[name].page_like(told)

    kept = [series for series in found if series.name not in ASIDE] or found
    return [_vendor_image(table, series, [page(series[i]) for i in range(len(series))]) for series in kept]


def _vendor_image(table: PageTable, series: Any, pages: list[Any]) -> TiffSeries:
    axes, shape = series.get_axes(False), series.get_shape(False)
    page = series.keyframe
    number, rest = divmod(math.prod(shape), math.prod(page.shape))
    split = next((i for i in range(len(shape) + 1) if math.prod(shape[:i]) == number), None)
    if rest or split is None or math.prod(shape[split:]) != math.prod(page.shape):
        raise SourceError(f"{table.path}: its pages of shape {page.shape} do not make up an image of shape {shape}")
    grid = "".join(UNKNOWN if axis in "IQ" else axis for axis in axes[:split])
    absent = pages.count(None) + (number - len(pages)) * (len(pages) > 1)
    problem = f"{number} pages are promised, {absent} of them are not there" if absent else ""
    pages += [None] * (number - len(pages)) * (len(pages) > 1)
    found = series_of(table.path, series.name, grid, shape[:split], pages, problem=problem)
    if found.run:
        table.check_run(found.first, number)
    return found


def imagej_images(table: PageTable) -> list[TiffSeries]:
    """The hyperstack that ImageJ's description defines, or all pages as a stack if it does not mention them."""
    told = table.tiff.imagej_metadata or {}
    ifds, layout = table.images, table.layout(table.ifds[0])
    sizes = {axis: max(1, _whole(told.get(name))) for axis, name in (("C", "channels"), ("Z", "slices"),
                                                                      ("T", "frames"))}
    samples = layout.shape[0] * layout.shape[4]
    if samples > 1 and samples == sizes["C"]:
        sizes["C"] = 1  # the samples of a pixel told as channels
    promised = math.prod(sizes.values())
    if promised == 1 and max(_whole(told.get("images")), len(ifds)) > 1:
        promised = max(_whole(told.get("images")), 1) if len(ifds) == 1 else len(ifds)
        return [_described(table, "", UNKNOWN, [promised], ifds, "ImageJ's description")]
    order = str(told.get("order", "czt")).lower()
    axes = (order if sorted(order) == ["c", "t", "z"] else "czt")[::-1]
    return [_described(table, "", axes, [sizes[axis.upper()] for axis in axes], ifds, "ImageJ's description")]


def _described(table: PageTable, label: str, axes: str, sizes: Sequence[int], ifds: Sequence[Ifd],
               teller: str) -> TiffSeries:
    """The image that a description defines: its pages, or a run of pages of which only the first has a directory."""
    number, there = math.prod(sizes), len(ifds)
    if number not in (there, 1) and there != 1:
        word = "is truncated" if there < number else "holds more than is told"
        raise SourceError(f"{table.path} {word}: {teller} promises {number} slices, the file holds {there}: "
                          f"{table.path}:pages reads all that there are")
    image = series_of(table.path, label, axes, sizes, [table.page(ifd) for ifd in ifds[:number]])
    if image.run:
        table.check_run(image.first, number)
    return image


def shaped_images(table: PageTable) -> list[TiffSeries]:
    """The images that tifffile wrote; the first page of each contains its shape."""
    ifds, images, at = table.images, list[TiffSeries](), 0
    while at < len(ifds):
        told = _told(table, ifds[at])
        if told is None:
            if at == 0:
                return plain_images(table)
            images += stacks(table.path, [table.page(ifd) for ifd in ifds[at:]], "pages that are not described")
            break
        image = _shaped(table, told, ifds[at:])
        images.append(image)
        at += len(image.pages)
    return _joined(table, images)


def _told(table: PageTable, ifd: Ifd) -> Mapping[str, Any] | None:
    """Metadata that tifffile wrote into the description of a page; None if there are none."""
    text = table.page_of_tifffile(ifd).shaped_description
    if text is None:
        return None
    if text.startswith("shape="):
        return {"shape": [int(size) for size in text[7:-1].split(",") if size.strip()]}
    told = json.loads(text)
    return told if isinstance(told, dict) and isinstance(told.get("shape"), list) else None


def _shaped(table: PageTable, told: Mapping[str, Any], ifds: Sequence[Ifd]) -> TiffSeries:
    layout, shape = table.layout(ifds[0]), [_whole(size) for size in told["shape"]]
    number, rest = divmod(math.prod(shape), max(1, math.prod(layout.page_shape)))
    split = next((i for i in range(len(shape) + 1) if math.prod(shape[:i]) == number), None)
    if rest or number == 0 or split is None:
        return _untold(table, ifds, shape)
    some = ifds[:1] if told.get("truncated") else ifds[:number]
    if len(some) == 1 < number and not told.get("truncated"):
        raise SourceError(f"{table.path} is truncated: its description promises {number} slices, the file holds 1")
    image = _described(table, str(told.get("name", "")), UNKNOWN * split, shape[:split], some, "its description")
    return told_as(image, _axes(told, shape, layout, split), shape) or _untold(table, ifds, shape)


def _axes(told: Mapping[str, Any], shape: Sequence[int], layout: PageFormat, split: int) -> str:
    """The axes that a description tells; else those of a page, or by their number, where the page has other ones.

    Four unnamed axes stay unknown if a page holds other axes than the last two.
    """
    axes = "".join(UNKNOWN if axis in "IQ" else axis.lower() for axis in str(told.get("axes", "")))
    if len(axes) == len(shape):
        return axes
    if tuple(shape[split:]) == layout.page_shape:
        return UNKNOWN * split + layout.axes.lower()
    return unknown_axes(len(shape)) if len(shape) <= 3 else UNKNOWN * len(shape)


def _untold(table: PageTable, ifds: Sequence[Ifd], shape: Sequence[int]) -> TiffSeries:
    logger.warning("%s: its description tells the shape %s, which its pages do not make up: it is left out of account",
                   table.path, tuple(shape))
    return stacks(table.path, [table.page(ifd) for ifd in ifds])[0]


def _joined(table: PageTable, images: list[TiffSeries]) -> list[TiffSeries]:
    """Images of one page each that were appended one by one are one stack, if they are alike."""
    pages = [image.first for image in images]
    alike = len({page.layout.kind for page in pages}) == 1 and all(len(image.pages) == 1 and not image.run
                                                                   for image in images)
    return stacks(table.path, pages) if alike and len(images) > 1 else images


def _whole(value: Any) -> int:
    """A count that somebody wrote; 0 where it is none."""
    try:
        return max(0, int(value))
    except (TypeError, ValueError, OverflowError):
        return 0
