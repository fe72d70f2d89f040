"""One block of the result: the only place where voxels move.

::

    source.read -> mirror -> window -> tile view -> batch -> predictor -> crop -> block array -> sink.write
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter

import numpy as np

from tiler.activity import computed
from tiler.errors import OutputShapeError, VoxelError
from tiler.geometry import Box, Shape, Span, Tile, hull, tiles_of
from tiler.jobs.read_mirrored import read_mirrored
from tiler.planning.plan import Plan
from tiler.ports import Array, Crops, InspectedSink, Json, Predictor, Sink, Source

STEP = 64
"""Steps along y and x in which tiles are narrowed, so that few kinds of crops arise."""


@dataclass(frozen=True, slots=True)
class Window:
    """Input of one block: its tiles, which share their context, and the array that holds them."""

    tiles: list[Tile]
    origin: tuple[int, ...]
    data: Array

    def view(self, tile: Tile) -> Array:
        """``(c, *tile)`` without a copy."""
        return self.data[(slice(None), *tile.read.back(self.origin).slices)]


@dataclass(frozen=True, slots=True)
class SegmentJob:
    """Segment the blocks of a plan: a `tiler.ports.Job`."""

    plan: Plan
    source: Source
    predictor: Predictor
    sink: Sink

    @property
    def feeders(self) -> int:
        return self.predictor.capabilities.feeders

    def where(self, index: int) -> str:
        return str(self.plan.grid[index])

    def read(self, index: int) -> Window:
        return read_window(self.tiles(index), self.source, self.plan.nan)

    def read_where(self, index: int, inside: Array) -> Window:
        """The input of the tiles that write any of the chosen voxels, bool of the block's shape."""
        start, narrow = self.plan.grid[index].start, self._narrows
        parts = [(tile, inside[tile.write.back(start).slices]) for tile in self.tiles(index)]
        tiles = [narrowed(tile, part) if narrow else tile for tile, part in parts if part.any()]
        return read_window(tiles, self.source, self.plan.nan)

    @property
    def _narrows(self) -> bool:
        """Whether tiles may write less than their core: other backends than torch compile each kind of crop."""
        backend = str(self.predictor.identity.get("backend", "torch")).split()[0]
        return self.predictor.capabilities.crops is not None and backend == "torch"

    def tiles(self, index: int) -> list[Tile]:
        """The tiles that write a block."""
        plan = self.plan
        return tiles_of(plan.grid[index], plan.tile, plan.footprint, plan.canvas)

    def compute(self, index: int, window: Window) -> Array:
        return predict_window(window, self.plan.grid[index], self.predictor, self.plan.batch)

    def write(self, index: int, result: Array) -> Json:
        box = self.plan.grid[index].back(self.plan.region.start)
        self.sink.write(box, result)
        return {"checksum": checksum(result), **stamped(self.sink, [box])}


def narrowed(tile: Tile, inside: Array) -> Tile:
    """A tile that writes no more than the hull of the chosen voxels of its core, in steps of `STEP` voxels."""
    spans = []
    for axis, (span, side) in enumerate(zip(tile.write.spans, inside.shape, strict=True)):
        found = np.flatnonzero(inside.any(axis=tuple(other for other in range(inside.ndim) if other != axis)))
        step = STEP if axis else 1
        low = max(span.start, (span.start + int(found[0])) // step * step)
        high = min(span.start + side, -(-(span.start + int(found[-1]) + 1) // step) * step)
        spans.append(Span(low, high))
    write = Box(tuple(spans))
    crop = write.back(tile.write.start).shift(tile.crop.start)
    return replace(tile, write=write, crop=crop)


def read_window(tiles: list[Tile], source: Source, nan: str) -> Window:
    """Read the voxels of several tiles at once."""
    box = hull([tile.read for tile in tiles])
    return Window(tiles, box.start, finite(read_mirrored(source, box), nan, source.name))


def predict_window(window: Window, block: Box, predictor: Predictor, batch: int) -> Array:
    """``(channels, *block.shape)``: output of the model for one block."""
    out = np.empty((len(predictor.classes), *block.shape), predictor.dtype)
    crops = predictor.capabilities.crops
    for tiles in _batches(window.tiles, batch, crops is not None):
        views = np.stack([window.view(tile) for tile in tiles])
        predicted = _whole(views, tiles, predictor) if crops is None else _cropped(views, tiles, predictor, crops)
        for tile, result in zip(tiles, predicted, strict=True):
            out[(slice(None), *tile.write.back(block.start).slices)] = result
        computed(len(tiles), len(window.tiles))
    return out


def _batches(tiles: list[Tile], size: int, crops: bool) -> Iterator[list[Tile]]:
    """Tiles of one batch; they share a crop if the model computes crops."""
    crop = attrgetter("crop")
    groups = [list(group) for _, group in groupby(sorted(tiles, key=crop), crop)] if crops else [tiles]
    for group in groups:
        for first in range(0, len(group), size):
            yield group[first : first + size]


def _cropped(batch: Array, tiles: list[Tile], predictor: Predictor, crops: Crops) -> list[Array]:
    predicted = crops.cropped(batch, tiles[0].crop)
    _check_shape(predicted, tiles[0].crop.shape, predictor)
    return list(predicted)


def _whole(batch: Array, tiles: list[Tile], predictor: Predictor) -> list[Array]:
    predicted = predictor(batch)
    _check_shape(predicted, predictor.footprint.output(tiles[0].read.shape), predictor)
    return [result[(slice(None), *tile.crop.slices)] for tile, result in zip(tiles, predicted, strict=True)]


def _check_shape(predicted: Array, shape: Shape, predictor: Predictor) -> None:
    if predicted.shape[1:] != (len(predictor.classes), *shape):
        raise OutputShapeError(f"the network gave an output of shape {predicted.shape}, its footprint says "
                               f"{(len(predicted), len(predictor.classes), *shape)}: look at it with tiler probe")


def finite(data: Array, rule: str, name: str) -> Array:
    """Return the voxels with values that are finite in float32; NaN, infinity and float64 overflow become 0.

    Raises
    ------
    VoxelError
        If a value is not finite and the rule is "refuse".
    """
    if not np.issubdtype(data.dtype, np.floating):
        return data
    bad = ~(np.abs(data) <= np.finfo(np.float32).max) if data.itemsize > 4 else ~np.isfinite(data)
    if not bad.any():
        return data
    if rule != "zero":
        raise VoxelError(f"{name} has voxels that are not finite in float32 ({int(bad.sum())} of them in one window): "
                         "give `nan=zero` to take them as 0")
    return np.where(bad, data.dtype.type(0), data)


def stamped(sink: Sink, boxes: Iterable[Box]) -> Json:
    """The stamp of the files of a block, for the journal; empty for formats without stamps."""
    stamps = [sink.stamp(box) for box in boxes] if isinstance(sink, InspectedSink) else []
    return {"stamp": " ".join(stamps)} if any(stamps) else {}


def checksum(data: Array) -> str:
    """BLAKE2b of the bytes in C order: the checksum of a block in the journal."""
    return checksum_of([data])


def checksum_of(parts: Iterable[Array]) -> str:
    """BLAKE2b of a block that was written in several parts, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
