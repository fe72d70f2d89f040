"""The images of a TIFF file: the pages of each, and the axes along which they are arranged.

::

    pages      0 1 2 3 4 5          one chain of directories
    image 0    [z0 z1 z2 z3]        named by a description (OME-XML, ImageJ, tifffile), or
    image 1              [z0 z1]    pages of one shape and type
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array
from tiler.sources.axes import UNKNOWN
from tiler.sources.positions import read_region
from tiler.sources.raw import Index
from tiler.sources.tiff_pages import Page


@dataclass(frozen=True, slots=True)
class TiffSeries:
    """One image of a TIFF file or of a set of them.

    Parameters
    ----------
    label
        Its name in the file; may be empty.
    grid
        One letter an axis along which the pages are laid.
    shape
        Shape of that grid.
    pages
        In the grid's row-major order, None for one that is not there; a single one for a run of pages that have
        no directories of their own.
    problem
        Description of missing planes; empty if the image is complete.
    number
        Index of the image in the description.
    view
        Axes and shape under which the description tells the same voxels, if they are others than those of the grid
        and of a page: axes of length 1 more or less, or other names.
    """

    label: str
    grid: str
    shape: tuple[int, ...]
    pages: tuple[Page | None, ...]
    problem: str = ""
    number: int = 0
    view: tuple[str, tuple[int, ...]] | None = None

    @property
    def first(self) -> Page:
        """A page that is there; they all have one shape and type."""
        return next(page for page in self.pages if page is not None)

    @property
    def axes(self) -> str:
        """Axes of the grid, then of a page; or those that the description gives."""
        return self.view[0] if self.view else self.grid + self.first.layout.axes.lower()

    @property
    def full_shape(self) -> tuple[int, ...]:
        return self.view[1] if self.view else self._stored_shape

    @property
    def _stored_shape(self) -> tuple[int, ...]:
        return (*self.shape, *self.first.layout.page_shape)

    def chunk(self, inside: Sequence[int]) -> tuple[int, ...]:
        """Shape that is decoded at once, given the shape that is decoded at once inside a page."""
        stored = (*(1,) * len(self.shape), *inside)
        if self.view is None:
            return stored
        long = (step for step, size in zip(stored, self._stored_shape, strict=True) if size > 1)
        return tuple(next(long) if size > 1 else 1 for size in self.view[1])

    @property
    def run(self) -> bool:
        """Whether the pages follow each other without directories."""
        return len(self.pages) < math.prod(self.shape)

    def read(self, index: Index) -> Array:
        """One slice an axis, no axis dropped."""
        if self.view is None:
            return self._read(index)
        long = (part for part, size in zip(index, self.view[1], strict=True) if size > 1)
        stored = tuple(next(long) if size > 1 else slice(0, 1) for size in self._stored_shape)
        return self._read(stored).reshape([part.stop - part.start for part in index])

    def _read(self, index: Index) -> Array:
        layout, depth = self.first.layout, len(self.shape)
        if self.run:
            return read_region(self.first.file, self.first.offsets[0], self._stored_shape, layout.dtype, index)
        out = np.empty([part.stop - part.start for part in index], layout.dtype.newbyteorder("="))
        flat = out.reshape(-1, *out.shape[depth:])
        cells = product(*(range(part.start, part.stop) for part in index[:depth]))
        for place, cell in enumerate(cells):
            page = self.pages[int(np.ravel_multi_index(cell, self.shape)) if cell else 0]
            flat[place] = layout.fill if page is None else page.read(index[depth:])
        return out


def series_of(path: object, label: str, axes: str, sizes: Sequence[int], pages: Iterable[Page | None], *,
              problem: str = "", number: int = 0) -> TiffSeries:
    """An image of pages along named axes; axes of length 1 are left out.

    Raises
    ------
    SourceError
        If its pages differ in shape or type.
    """
    pages = tuple(pages)
    kinds: dict[object, int] = {}
    for at, page in enumerate(pages):
        if page is not None:
            kinds.setdefault(page.layout.kind, at)
    if len(kinds) > 1:
        (one, first), (other, second) = list(kinds.items())[:2]
        raise SourceError(f"{path}: the pages of one image differ: page {first} is {says(one)}, page {second} is "
                          f"{says(other)}")
    kept = [(axis, size) for axis, size in zip(axes.lower(), sizes, strict=True) if size > 1]
    return TiffSeries(label, "".join(axis for axis, _ in kept), tuple(size for _, size in kept), pages, problem, number)


def stacks(path: object, pages: Sequence[Page], label: str = "") -> list[TiffSeries]:
    """Pages of one shape and type as one stack each."""
    alike: dict[object, list[Page]] = {}
    for page in pages:
        alike.setdefault(page.layout.kind, []).append(page)
    return [series_of(path, label, UNKNOWN, [len(some)], some) for some in alike.values()]


def told_as(series: TiffSeries, axes: str, shape: Sequence[int]) -> TiffSeries | None:
    """The image with the axes and the shape that its description tells; None if its voxels do not have them."""
    stored, told = series.full_shape, tuple(shape)
    if [size for size in stored if size > 1] != [size for size in told if size > 1]:
        return None
    return series if (axes, told) == (series.axes, stored) else replace(series, view=(axes, told))


def says(kind: Any) -> str:
    """``of shape (16, 20) and dtype uint8``."""
    _, shape, dtype = kind
    return f"of shape {tuple(shape)} and dtype {np.dtype(dtype).name}"


def chosen(path: object, images: Sequence[TiffSeries], number: int | None) -> TiffSeries:
    """The requested image, else the only one.

    Raises
    ------
    SourceError
        Naming all of them, if there are several and none was asked for, or not that one.
    """
    if number is None and len(images) == 1:
        return images[0]
    if number is not None and 0 <= number < len(images):
        return images[number]
    listed = "; ".join(f"{at}{f' ({image.label})' * bool(image.label)} "
                       f"{says(('', image.full_shape, image.first.layout.dtype))}"
                       for at, image in enumerate(images[:8]))
    more = f"; and {len(images) - 8} more" if len(images) > 8 else ""
    wrong = "" if number is None else f", not image {number}"
    largest = max(range(len(images)), key=lambda at: math.prod(images[at].full_shape))
    raise SourceError(f"{path} holds {len(images)} image{'s' * (len(images) > 1)}{wrong}: {listed}{more}: choose one, "
                      f"as in {path}:{largest}, or {path}:pages for all pages as one stack")
