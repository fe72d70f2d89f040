"""OME-TIFF: tiled and compressed; large planes with coarser levels as SubIFDs.

The layout is that of https://docs.openmicroscopy.org/ome-model/6.3.1/ome-tiff/specification.html#sub-resolutions
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tiler.errors import SinkError
from tiler.geometry import Box, Shape
from tiler.ports import Array, OutputSpec, Watch
from tiler.sinks.layout import Index
from tiler.sinks.pyramid import Level, levels_of
from tiler.sinks.staged import StagedSink
from tiler.sinks.tiff import CLASSIC_LIMIT, OME_TYPES, ome_options, stored_order

LARGE_PLANE = 2048
"""Voxels along y or x that a viewer still shows at once."""
TILE = 512


class OmeTiffSink(StagedSink):
    """An OME-TIFF file.

    Raises
    ------
    SinkError
        For a dtype that OME-XML does not know.
    """

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        if np.dtype(spec.dtype).name not in OME_TYPES:
            raise SinkError(f"{path}: OME-TIFF holds {', '.join(OME_TYPES)}; got {np.dtype(spec.dtype).name}: write "
                            ".tif, .h5 or .zarr", option="output")
        super().__init__(path, spec)

    def staged(self, spec: OutputSpec) -> OutputSpec:
        """Pages are written one after the other: no chunk holds voxels of two."""
        return replace(spec, chunk=(1, *spec.chunk[1:]), ngff="0.5")

    def levels(self) -> Sequence[Level]:
        """Every level has as many pages."""
        levels = levels_of(self.spec, self.layout, halve_z=False)
        large = "levels" in self.spec.storage or max(self.layout.shape[-2:]) > LARGE_PLANE
        return levels if large else levels[:1]

    def pieces(self, levels: Sequence[Level]) -> int:
        """Bands of pages."""
        band = band_of(self.stage.chunk)
        return sum(math.prod(level.shape[:-2]) * -(-level.shape[-2] // band) for level in levels)

    def convert(self, levels: Sequence[Any], path: Path, watch: Watch) -> None:
        voxels = sum(math.prod(array.shape) for array in levels)
        big = voxels * np.dtype(self.spec.dtype).itemsize > CLASSIC_LIMIT
        order = stored_order(self.layout)
        found = ome_options(self.spec)
        first = {**found, "metadata": {**found["metadata"], "axes": "".join(order).upper()},
                 "subifds": len(levels) - 1}
        with tifffile.TiffWriter(path, bigtiff=big, ome=True) as tiff:
            for number, array in enumerate(levels):
                places = [self.layout.axes.index(axis) for axis in order]
                options: dict[str, Any] = {"metadata": None, "subfiletype": 1} if number else first
                tiff.write(tiles(array, places, watch), shape=[array.shape[place] for place in places],
                           dtype=array.dtype, tile=(TILE, TILE), compression="zlib", photometric="minisblack",
                           **options)

    def load(self, path: Path, box: Box) -> Array:
        with self.opened_levels(path) as (full, *_):
            return self.layout.load(full, box)

    @contextmanager
    def opened_levels(self, path: Path) -> Iterator[Sequence[Any]]:
        places = [self.layout.axes.index(axis) for axis in stored_order(self.layout)]
        with tifffile.TiffFile(path) as tiff:
            yield [_Pages(tiff, level.shape, places, number) for number, level in enumerate(self.levels())]


def band_of(chunk: Shape) -> int:
    """Rows of a page that are read at once, in whole tiles: about as many as a chunk has."""
    return TILE * max(1, round(chunk[-2] / TILE))


def tiles(array: Any, places: Sequence[int], watch: Watch) -> Iterator[Array]:
    """The tiles of all pages, in the order of the file; memory holds a band of a page.

    Parameters
    ----------
    array
        A zarr array whose chunks are one page deep.
    places
        Which of its axes stands where in the file.
    watch
        Told of each band.
    """
    height, width = array.shape[-2:]
    band = band_of(array.chunks)
    for page in product(*(range(array.shape[place]) for place in places[:-2])):
        index: list[Any] = [0] * len(array.shape)
        for place, at in zip(places[:-2], page, strict=True):
            index[place] = at
        for top in range(0, height, band):
            index[-2:] = slice(top, min(top + band, height)), slice(0, width)
            rows = np.asarray(array[tuple(index)])
            watch.made(rows.size)
            for y, x in product(range(0, len(rows), TILE), range(0, width, TILE)):
                yield np.ascontiguousarray(rows[y:y + TILE, x:x + TILE])


@dataclass(frozen=True, slots=True)
class _Pages:
    """The pages of a file as an array in the layout's order of axes, decoded tile by tile."""

    tiff: Any
    shape: tuple[int, ...]
    places: list[int]
    level: int = 0
    shards: None = None

    @property
    def chunks(self) -> Shape:
        return (1,) * (len(self.shape) - 2) + (TILE, TILE)

    @property
    def dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = self.tiff.pages.first.dtype
        return found

    def __getitem__(self, index: Index) -> Array:
        out = np.empty([part.stop - part.start for part in index], self.dtype)
        leading = self.places[:-2]
        grid = [self.shape[place] for place in leading]
        for page in product(*(range(index[place].start, index[place].stop) for place in leading)):
            at: list[Any] = [slice(None)] * len(index)
            for place, number in zip(leading, page, strict=True):
                at[place] = number - index[place].start
            number = int(np.ravel_multi_index(page, grid)) if grid else 0
            full = self.tiff.pages[number]
            self._paste(full.pages[self.level - 1] if self.level else full, index[-2:], out[tuple(at)])
        return out

    def _paste(self, page: Any, box: Index, out: Array) -> None:
        """Decode the tiles that a box of a page touches."""
        across = -(-self.shape[-1] // TILE)
        touched = [range(part.start // TILE, -(-part.stop // TILE)) for part in box]
        for row, column in product(*touched):
            number = row * across + column
            self.tiff.filehandle.seek(page.dataoffsets[number])
            tile = page.decode(self.tiff.filehandle.read(page.databytecounts[number]), number)[0][0, ..., 0]
            starts = (row * TILE, column * TILE)
            shared = [(max(part.start, start), min(part.stop, start + length))
                      for part, start, length in zip(box, starts, tile.shape, strict=True)]
            inside = tuple(slice(low - start, high - start)
                           for (low, high), start in zip(shared, starts, strict=True))
            out[tuple(slice(low - part.start, high - part.start)
                      for (low, high), part in zip(shared, box, strict=True))] = tile[inside]
