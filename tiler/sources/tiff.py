"""TIFF: multi-page, BigTIFF, ImageJ, OME (also of several files), strips and tiles, compressed or not.

``file.tif:N`` is image N of a file that holds several, ``file.tif:pages`` all pages as they follow each other,
whatever their description says.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from tiler.errors import SourceError, TilerError
from tiler.ports import Array, Json
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.files import existing, files_identity, split_image
from tiler.sources.raw import Header, Index, Lazy
from tiler.sources.tiff_kinds import imagej_images, is_vendor, plain_images, shaped_images, vendor_images
from tiler.sources.tiff_metadata import Told, told_of
from tiler.sources.tiff_ome import OmeSet, companion, first_file, metadata_file, ome_images, parsed
from tiler.sources.tiff_series import TiffSeries, chosen
from tiler.sources.tiff_table import PageTable
from tiler.sources.volume import one_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TiffImage:
    """An image of a TIFF file, or of a set of them."""

    header: Header
    files: tuple[Path, ...]
    handle: Lazy[TiffSeries] = field(repr=False)
    missing: str = ""

    def fetch(self, index: Index) -> Array:
        return self.handle().read(index)

    def identity(self) -> Json:
        told = files_identity(self.files)
        return {**told, "missing": self.missing} if self.missing else told


@dataclass(frozen=True, slots=True)
class Found:
    """Contents of a file: its images, their metadata, and the files that hold their pages."""

    images: list[TiffSeries]
    told: Told
    files: tuple[Path, ...]


def open_tiff(path: Path, consent: Consent = REFUSED) -> TiffImage:
    """Read a TIFF file's structure: every page's tags, no voxel.

    Parameters
    ----------
    path
        A TIFF file, followed by ``:N`` to choose one of several images, or a ``.companion.ome`` file.
    consent
        Whether missing planes are read as zeros.

    Raises
    ------
    SourceError
        If it is missing, truncated or empty, holds several images and none was chosen, or lacks planes that
        its description lists.
    """
    file, image = split_image(path)
    file = existing(file)
    found, series = _parsed(file, image, consent)
    if series.problem:
        consent.absent(f"{file}: {series.problem}; {file}:pages reads all pages that there are")
    if series.first.layout.inverted:
        logger.warning("%s says that 0 is white: its voxels are read as stored", file)
    handle = Lazy(partial(_series, file, image, consent), series)
    return TiffImage(_header(str(path if image else file), found, series), found.files, handle, series.problem)


def _series(file: Path, image: str | None, consent: Consent) -> TiffSeries:
    return _parsed(file, image, consent)[1]


def _parsed(file: Path, image: str | None, consent: Consent) -> tuple[Found, TiffSeries]:
    xml = file.suffix.lower() == ".ome"
    try:
        found = _from_xml(file, consent) if xml else _from_tiff(file, image == "pages", consent)
        number = int(image) if image and image.isdigit() else None
        return found, chosen(file, found.images, number)
    except TilerError:
        raise
    except Exception as error:  # damaged files raise whatever their first wrong byte leads to
        raise SourceError(f"{file} is not a readable TIFF file: {one_line(error)}") from error


def _from_tiff(file: Path, plain: bool, consent: Consent) -> Found:
    with tifffile.TiffFile(file) as tiff:
        table = PageTable(file, tiff)
        if 0 in tiff.pages.first.shape:
            raise SourceError(f"{file} is empty: its first page has shape {tiff.pages.first.shape}")
        if plain:
            return Found(plain_images(table), told_of(tiff), (file,))
        if tiff.is_shaped:
            return Found(shaped_images(table), told_of(tiff), (file,))
        if tiff.is_ome and not tiff.is_lsm:
            found = _from_ome(file, table, tiff, consent)
            if found is not None:
                return found
        if tiff.is_imagej:
            return Found(imagej_images(table), told_of(tiff), (file,))
        if is_vendor(tiff):
            images = vendor_images(table)
            files = {page.file.path: None for image in images for page in image.pages if page is not None}
            return Found(images, told_of(tiff), tuple({file: None, **files}))
        return Found(plain_images(table), told_of(tiff), (file,))


def _from_ome(file: Path, table: PageTable, tiff: Any, consent: Consent) -> Found | None:
    """The images of an OME-TIFF; None if its XML is not readable, so that only its pages are known."""
    root = parsed(tiff.ome_metadata or "")
    if root is None:
        logger.warning("%s: its OME-XML is damaged: its pages are read as they follow each other", file)
        return None
    uuid, others = root.get("UUID"), list[Path]()
    name = metadata_file(root)
    if name is not None:
        xml = companion(file, name)
        root = None if xml is None else parsed(xml)
        if root is None:
            raise SourceError(f"{file} is a part of a set which {name or 'another file'} describes, and that file is "
                              f"not there or not readable; {file}:pages reads the pages of this file alone")
        others = [file.parent / Path(name).name]
    return _of_set(file, OmeSet(file.parent, {file.name: table}, file.name, uuid, consent), root, others)


def _from_xml(file: Path, consent: Consent) -> Found:
    """The images of a set, from its companion file."""
    root = parsed(companion(file, file.name) or "")
    if root is None or first_file(root) is None:
        raise SourceError(f"{file} is not a readable OME-XML that names the files of its images")
    return _of_set(file, OmeSet(file.parent, {}, None, None, consent), root, [])


def _of_set(file: Path, found: OmeSet, root: ElementTree.Element, others: list[Path]) -> Found:
    images = ome_images(file, found, root)
    files = [table.path for table in found.tables.values() if table is not None]
    return Found(images, Told(ome=root), tuple(dict.fromkeys([file, *files, *others])))


def _header(name: str, found: Found, series: TiffSeries) -> Header:
    layout, axes = series.first.layout, series.axes
    sizes = found.told.sizes(series.number, name)
    steps = [sizes.get(axis, (1.0, None)) for axis in axes]
    piece = (1, *layout.segment, layout.shape[4])
    inside = [1 if series.first.raw else piece[place] for place in layout.places]
    return Header(
        name=name, axes=axes, shape=series.full_shape, dtype=layout.dtype,
        chunk=series.chunk(inside),
        scale=tuple(step for step, _ in steps), units=tuple(unit for _, unit in steps), offset=(0.0,) * len(axes),
        channels=found.told.channels(series.number),
    )
