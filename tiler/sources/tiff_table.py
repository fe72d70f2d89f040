"""The pages of one TIFF file, each with its own layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tifffile

from tiler.errors import SourceError
from tiler.sources.positions import FileBytes
from tiler.sources.tiff_ifds import Ifd, chain, read_ifd
from tiler.sources.tiff_pages import Page, PageFormat, check_complete, in_one_piece

SEVERAL_PLANES = ("is_stk", "is_lsm")
"""Kinds of files whose pages hold more than their strips say, which tifffile knows how to read."""


class PageTable:
    """The pages of a file that is open in tifffile.

    Parameters
    ----------
    path
        The file.
    tiff
        A `tifffile.TiffFile` of it.

    Raises
    ------
    SourceError
        If the chain of its pages is broken.
    """

    def __init__(self, path: Path, tiff: Any) -> None:
        self.path, self.tiff, self.file = path, tiff, FileBytes(path)
        if not len(tiff.pages):
            raise SourceError(f"{path} is empty: it has no page")
        self.ifds = chain(tiff, self.file)
        self._size = self.file.size
        self._layouts: dict[object, PageFormat] = {}

    @property
    def images(self) -> list[Ifd]:
        """The pages that are not smaller copies or masks of others; all pages if there are no others."""
        return [ifd for ifd in self.ifds if not ifd.secondary] or self.ifds

    def layout(self, ifd: Ifd) -> PageFormat:
        """Layout of a page."""
        if ifd.signature not in self._layouts:
            self._layouts[ifd.signature] = PageFormat.of(self.page_of_tifffile(ifd))
        return self._layouts[ifd.signature]

    def page(self, ifd: Ifd) -> Page:
        """A page of the main chain.

        Raises
        ------
        SourceError
            If its voxels lie beyond the end of the file.
        """
        layout, offsets, counts, tables = self.layout(ifd), ifd.offsets, ifd.counts, ifd.tables
        if not offsets:  # tifffile makes up for counts that are missing
            told = self.page_of_tifffile(ifd)
            offsets, counts, tables = tuple(told.dataoffsets), tuple(told.databytecounts), told.jpegtables
        return self._checked(ifd, Page(self.file, layout, offsets, counts, tables,
                                       in_one_piece(layout, offsets, counts)))

    def page_like(self, told: Any) -> Page:
        """A page of an image that tifffile has put together, wherever its directory lies.

        Parameters
        ----------
        told
            A `tifffile.TiffPage` or `tifffile.TiffFrame`.
        """
        index = told.index
        ifd, _ = read_ifd(self.tiff.tiff, self.file, told.offset, index) if told.offset > 0 else (None, 0)
        key = None if ifd is None else ifd.signature
        if key not in self._layouts:
            self._layouts[key] = PageFormat.of(told.keyframe if ifd is None else told.aspage())
        layout, offsets, counts = self._layouts[key], tuple(told.dataoffsets), tuple(told.databytecounts)
        several = any(getattr(self.tiff, name) for name in SEVERAL_PLANES)
        raw = layout.plain and told.is_final if several else in_one_piece(layout, offsets, counts)
        page = Page(self.file, layout, offsets, counts, told.jpegtables, raw)
        check_complete(str(self.path), index, page, self._size)
        return page

    def page_of_tifffile(self, ifd: Ifd) -> Any:
        """The `tifffile.TiffPage` of a directory."""
        if ifd.index == 0:
            return self.tiff.pages.first
        handle = self.tiff.filehandle
        closed = handle.closed
        if closed:
            handle.open()
        try:
            handle.seek(ifd.offset)
            return tifffile.TiffPage(self.tiff, ifd.index)
        finally:
            if closed:
                handle.close()

    def _checked(self, ifd: Ifd, page: Page) -> Page:
        check_complete(str(self.path), ifd.index, page, self._size)
        return page

    def check_run(self, page: Page, count: int) -> None:
        """Refuse a run of ``count`` pages, only the first with a directory, if it extends beyond the file.

        Raises
        ------
        SourceError
            If so, or if the layout of the first page does not allow a run.
        """
        if not page.raw:
            raise SourceError(f"{self.path} is truncated: its description promises {count} slices, the file holds 1")
        end = page.offsets[0] + count * page.layout.nbytes
        if end > self._size:
            raise SourceError(f"{self.path} is truncated: its description promises {count} slices, which end at byte "
                              f"{end}, the file at {self._size}")
