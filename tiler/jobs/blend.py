"""Compute one block of a blended result: the weighted sum of all windows that overlap it.

Blocks that share a window each compute it, so that writes stay disjoint and nothing accumulates in the output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tiler.errors import OutputShapeError
from tiler.geometry import Tile
from tiler.jobs.segment import SegmentJob, Window
from tiler.planning.blend_windows import Windows
from tiler.planning.plan import Plan
from tiler.ports import Array, Predictor, Sink, Source


@dataclass(frozen=True, slots=True)
class BlendJob(SegmentJob):
    """Segment the blocks of a plan by overlapping windows: a `tiler.ports.Job`.

    Parameters
    ----------
    shifted
        Whether the windows are shifted from their places in the run, to measure the effect of their places.
    """

    shifted: bool = False

    @property
    def windows(self) -> Windows:
        plan = self.plan
        assert plan.canvas is not None, "windows lie on a canvas that ends"
        return Windows.on(plan.canvas, plan.tile, plan.footprint.stride, self.shifted)

    def tiles(self, index: int) -> list[Tile]:
        return self.windows.tiles(self.plan.grid[index])

    def compute(self, index: int, window: Window) -> Array:
        soft, block, windows = self.predictor.capabilities.soft, self.plan.grid[index], self.windows
        assert soft is not None, "a plan that blends comes from a predictor with values to average"
        total = np.zeros((soft.channels, *block.shape))
        for first in range(0, len(window.tiles), self.plan.batch):
            tiles = window.tiles[first : first + self.plan.batch]
            values = soft.soft(np.stack([window.view(tile) for tile in tiles]))
            if values.shape[1:] != (soft.channels, *self.plan.tile):
                raise OutputShapeError(f"the network gave an output of shape {values.shape} for windows of "
                                       f"{self.plan.tile}: look at it with tiler probe")
            for tile, result in zip(tiles, values, strict=True):
                part = (slice(None), *tile.write.back(block.start).slices)
                total[part] += windows.weight(tile) * result[(slice(None), *tile.crop.slices)]
        return soft.written(total)


def segment_job(
    plan: Plan, source: Source, predictor: Predictor, sink: Sink
) -> SegmentJob:
    """The job of the last pass of a plan: exact tiles or blended windows, as the plan says."""
    if plan.blended:
        return BlendJob(plan, source, predictor, sink)
    return SegmentJob(plan, source, predictor, sink)
