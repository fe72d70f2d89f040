"""TIFF: multi-page, BigTIFF, ImageJ, OME (also of several files), strips and tiles, compressed or not."""

from __future__ import annotations

import logging
import math
import struct
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tiler.errors import SourceError, TilerError
from tiler.ports import Array, Json
from tiler.sources.axes import UNKNOWN
from tiler.sources.files import existing, file_identity
from tiler.sources.raw import Header, Index, Lazy
from tiler.sources.tiff_metadata import channel_names, voxel_sizes
from tiler.sources.tiff_pages import Page, PageFormat, check_complete
from tiler.sources.volume import one_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Series:
    """The pages of one image, ready to be read by region; made once per process.

    Parameters
    ----------
    shape
        Of the pages' grid, then of a page.
    layout
        How each page is stored.
    pages
        In the grid's row-major order, None for one that the file leaves out; a single one that holds all
        voxels where they are stored in one piece.
    files
        That hold them.
    """

    shape: tuple[int, ...]
    layout: PageFormat
    pages: tuple[Page | None, ...]
    files: tuple[Path, ...]

    def read(self, index: Index) -> Array:
        """One slice an axis, no axis dropped."""
        depth = len(self.shape) - len(self.layout.places)
        grid, within = self.shape[:depth], index[depth:]
        out = np.empty([part.stop - part.start for part in index], self.layout.dtype.newbyteorder("="))
        flat = out.reshape(-1, *out.shape[depth:])
        cells = product(*(range(part.start, part.stop) for part in index[:depth]))
        for place, cell in enumerate(cells):
            number = int(np.ravel_multi_index(cell, grid)) if grid else 0
            flat[place] = self.layout.read(self._page(number), within)
        return out

    def _page(self, number: int) -> Page | None:
        first = self.pages[0]
        if len(self.pages) > 1 or number == 0 or first is None:
            return self.pages[number]
        return Page(first.buffer, (first.offsets[0] + number * self.layout.nbytes,), (self.layout.nbytes,), None)


@dataclass(frozen=True, slots=True)
class TiffImage:
    """The first image of a TIFF file."""

    header: Header
    files: tuple[Path, ...]
    handle: Lazy[Series] = field(repr=False)

    def fetch(self, index: Index) -> Array:
        return self.handle().read(index)

    def identity(self) -> Json:
        first, *others = (file_identity(path) for path in self.files)
        return {**first, "others": others} if others else first


def open_tiff(path: Path) -> TiffImage:
    """Read a TIFF file's structure: every page's tags, no voxel.

    Raises
    ------
    SourceError
        If it is missing, truncated or empty, or is stored in a way that cannot be read by region.
    """
    path = existing(path)
    header, series = _parse(path)
    handle = Lazy(partial(_series, path))
    return TiffImage(header, series.files, handle)


def _series(path: Path) -> Series:
    return _parse(path)[1]


def _parse(path: Path) -> tuple[Header, Series]:
    try:
        with tifffile.TiffFile(path) as tiff:
            _check_pages(path, tiff)
            found = tiff.series[0]
            if len(tiff.series) > 1:
                logger.warning("%s holds %d images; only the first is read", path, len(tiff.series))
            axes, shape, depth = _grid(path, found)
            series = _tables(path, tiff, found, shape)
            return _header(path, tiff, axes, shape, depth, series.layout), series
    except TilerError:
        raise
    except Exception as error:  # damaged files raise whatever their first wrong byte leads to
        raise SourceError(f"{path} is not a readable TIFF file: {one_line(error)}") from error


def _check_pages(path: Path, tiff: tifffile.TiffFile) -> None:
    """tifffile drops what follows a broken link in the chain of pages; a result without it would be wrong."""
    count = len(tiff.pages)
    if not count:
        raise SourceError(f"{path} is empty: it has no page")
    handle = tiff.filehandle
    handle.seek(tiff.pages.next_page_offset or 0)
    link = handle.read(tiff.tiff.offsetsize)
    if len(link) < tiff.tiff.offsetsize or struct.unpack(tiff.tiff.offsetformat, link)[0]:
        raise SourceError(f"{path} is truncated: the link after page {count - 1} leads to nothing")
    if 0 in tiff.pages.first.shape:
        raise SourceError(f"{path} is empty: its first page has shape {tiff.pages.first.shape}")


def _grid(path: Path, found: Any) -> tuple[str, tuple[int, ...], int]:
    """Axes and shape of a series: the grid of its pages without axes of length 1, then a page.

    The third value says how many axes the grid has.
    """
    axes, shape = found.get_axes(False), found.get_shape(False)
    page = found.keyframe
    number, rest = divmod(math.prod(shape), math.prod(page.shape))
    split = next((i for i in range(len(shape) + 1) if math.prod(shape[:i]) == number), None)
    if rest or split is None or math.prod(shape[split:]) != math.prod(page.shape):
        raise SourceError(f"{path}: its pages of shape {page.shape} do not make up "
                          f"an image of shape {shape}")
    lead = [(axis, size) for axis, size in zip(axes[:split], shape[:split], strict=True) if size > 1]
    tail = axes[split:] if shape[split:] == page.shape else page.axes
    return "".join(axis for axis, _ in lead) + tail, (*(size for _, size in lead), *page.shape), len(lead)


def _tables(path: Path, tiff: tifffile.TiffFile, found: Any, shape: tuple[int, ...]) -> Series:
    """Take from tifffile what reading needs; truncation is found here."""
    layout = PageFormat.of(found.keyframe, tiff.byteorder)
    number = math.prod(shape) // math.prod(layout.shape)
    stored = [found.keyframe] if found.dataoffset is not None else [found[i] for i in range(len(found))]
    if len(stored) not in (1, number) or (len(stored) < number and found.dataoffset is None):
        raise SourceError(f"{path} is truncated: it promises {number} pages and has {len(stored)}")
    _check_imagej(path, tiff, found, number)
    buffers: dict[Path, Array] = {}
    pages = tuple(_page(page, buffers) for page in stored)
    for i, page in enumerate(pages):
        if page is not None:
            check_complete(str(path), i, page, layout)
    series = Series(shape, layout, pages, tuple(buffers))
    if number > len(pages):
        last = series._page(number - 1)
        assert last is not None
        check_complete(str(path), number - 1, last, layout)
    return series


def _check_imagej(path: Path, tiff: tifffile.TiffFile, found: Any, number: int) -> None:
    """Where ImageJ's single run of voxels is cut short, tifffile shows the first page alone."""
    metadata = (tiff.imagej_metadata or {}) if tiff.is_imagej else {}
    promised = math.prod(int(metadata.get(name, 1)) for name in ("channels", "slices", "frames"))
    promised = max(promised, int(metadata.get("images", 1)))
    if found.kind != "imagej" and promised > number:
        raise SourceError(f"{path} is truncated: ImageJ's description promises {promised} slices, "
                          f"the file holds {number}")


def _page(page: Any, buffers: dict[Path, Array]) -> Page | None:
    if page is None:
        return None
    file = Path(page.parent.filehandle.path)
    if file not in buffers:
        buffers[file] = np.memmap(file, np.uint8, "r")
    return Page(buffers[file], tuple(page.dataoffsets), tuple(page.databytecounts), page.jpegtables)


def _header(path: Path, tiff: tifffile.TiffFile, axes: str, shape: tuple[int, ...], depth: int,
            layout: PageFormat) -> Header:
    named = "".join(UNKNOWN if axis in "IQ" else axis.lower() for axis in axes)
    sizes = voxel_sizes(tiff)
    steps = [sizes.get(axis, (1.0, None)) for axis in named]
    piece = (1, *layout.segment, layout.shape[4])
    inside = [1 if layout.raw else piece[place] for place in layout.places]
    return Header(
        name=str(path), axes=named, shape=shape, dtype=layout.dtype, chunk=(*(1,) * depth, *inside),
        scale=tuple(step for step, _ in steps), units=tuple(unit for _, unit in steps), offset=(0.0,) * len(shape),
        channels=channel_names(tiff),
    )
