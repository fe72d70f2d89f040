"""One block of the result: the only place where voxels move.

::

    source.read -> mirror -> window -> tile view -> batch -> predictor -> crop -> block array -> sink.write
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from tiler.errors import OutputShapeError, SourceError
from tiler.geometry import Box, Tile, hull, tiles_of
from tiler.mirror import read_mirrored
from tiler.plans import Plan
from tiler.ports import Array, Json, Predictor, Sink, Source


@dataclass(frozen=True, slots=True)
class Window:
    """What one block reads: its tiles, which share their context, and where the array begins."""

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

    def where(self, index: int) -> str:
        return str(self.plan.grid[index])

    def read(self, index: int) -> Window:
        plan = self.plan
        tiles = tiles_of(plan.grid[index], plan.tile, plan.footprint, plan.canvas)
        box = hull([tile.read for tile in tiles])
        return Window(tiles, box.start, finite(read_mirrored(self.source, box), plan.nan, self.source.name))

    def compute(self, index: int, window: Window) -> Array:
        return predict_window(window, self.plan.grid[index], self.predictor, self.plan.batch)

    def write(self, index: int, result: Array) -> Json:
        self.sink.write(self.plan.grid[index].back(self.plan.region.start), result)
        return {"checksum": checksum(result)}


def predict_window(window: Window, block: Box, predictor: Predictor, batch: int) -> Array:
    """``(channels, *block.shape)``: what the model says about one block."""
    out = np.empty((len(predictor.classes), *block.shape), predictor.dtype)
    for first in range(0, len(window.tiles), batch):
        tiles = window.tiles[first : first + batch]
        predicted = predictor(np.stack([window.view(tile) for tile in tiles]))
        _check_shape(predicted, tiles, out, predictor)
        for tile, result in zip(tiles, predicted, strict=True):
            out[(slice(None), *tile.write.back(block.start).slices)] = result[(slice(None), *tile.crop.slices)]
    return out


def _check_shape(predicted: Array, tiles: list[Tile], out: Array, predictor: Predictor) -> None:
    expected = (len(tiles), len(out), *predictor.footprint.output(tiles[0].read.shape))
    if predicted.shape != expected:
        raise OutputShapeError(f"the network gave an output of shape {predicted.shape}, its footprint says "
                               f"{expected}: look at it with tiler probe")


def finite(data: Array, rule: str, name: str) -> Array:
    """The same voxels without NaN and infinity.

    Raises
    ------
    SourceError
        If there are any and the rule is "refuse".
    """
    if not np.issubdtype(data.dtype, np.floating):
        return data
    bad = ~np.isfinite(data)
    if not bad.any():
        return data
    if rule != "zero":
        raise SourceError(f"{name} has voxels that are not finite ({int(bad.sum())} of them in one window): "
                          "give --nan zero to take them as 0")
    return np.where(bad, data.dtype.type(0), data)


def checksum(data: Array) -> str:
    """BLAKE2b of the bytes in C order: what the journal keeps of a block as it was written."""
    return hashlib.blake2b(np.ascontiguousarray(data).data, digest_size=16).hexdigest()
