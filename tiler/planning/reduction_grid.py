"""Grid of a reducing pass: whole strides over every network input; context beyond them is discarded.

::

    volume, or canvas of a zero border     |-------------------------------------------|
    stride grid, begun at the phase     |-----|-----|-----|-----|-----|-----|-----|-----|
    blocks, cut where a canvas ends     [=================|=================|===========]

An orientation that flips an axis has a grid with another phase, because the network lays it from the other end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tiler.geometry import Box, Grid, Shape, Span, Tile, tiles_of
from tiler.planning.reads import AxisLayout, Traffic
from tiler.ports import Predictor, Reduction, VolumeShape

BLOCK_VOXELS = 1 << 23
"""Most voxels of a block, unless a single core is larger; the size of its record does not depend on its size."""


@dataclass(frozen=True, slots=True)
class Field:
    """Region to sweep and the tiles that sweep it.

    Parameters
    ----------
    volume
        Shape ``(c, z, y, x)`` of the source.
    region
        Region of the result. If the network takes slices, the slices of this region are swept, each one completely.
    canvas
        Box that contains every tile; None if the volume is mirrored without end.
    tile, depth
        Tile shape of the plan, and depth of its blocks in voxels.
    """

    volume: VolumeShape
    region: Box
    canvas: Box | None
    tile: Shape
    depth: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """One orientation of one pass; its own coordinates have their origin at the phase of its grid."""

    reduction: Reduction
    field: Field
    of_slices: bool

    @property
    def grid(self) -> Grid:
        """Blocks of whole strides, in the sweep's own coordinates."""
        return Grid(self._covered, self._block)

    def box(self, index: int) -> Box:
        """One block in volume coordinates."""
        box = self.grid[index].shift(self.reduction.phase)
        return box if self.field.canvas is None else box.intersect(self.field.canvas)

    def tiles(self, box: Box) -> list[Tile]:
        """The tiles of a block, all in volume coordinates."""
        phase, canvas = self.reduction.phase, self.field.canvas
        own = None if canvas is None else canvas.back(phase)
        return [Tile(tile.read.shift(phase), tile.write.shift(phase), tile.crop)
                for tile in tiles_of(box.back(phase), self.field.tile, self.reduction.footprint, own)]

    @property
    def _covered(self) -> Box:
        """Whole strides that cover the volume or its canvas."""
        whole = self.field.canvas or Box.of_shape(self.field.volume[1:])
        if self.of_slices:
            whole = Box((self.field.region.spans[0], *whole.spans[1:]))
        axes = zip(whole.back(self.reduction.phase).spans, self.reduction.footprint.stride, strict=True)
        return Box(tuple(Span(span.start // step * step, -(-span.stop // step) * step) for span, step in axes))

    @property
    def _block(self) -> Shape:
        """Whole cores: one, then as many along x, y and z as fit into a block."""
        covered, field, footprint = self._covered.shape, self.field, self.reduction.footprint
        sides = [size if full == tile else axis.core(tile) for size, full, tile, axis in
                 zip(covered, self._canvas_shape, field.tile, footprint.axes, strict=True)]
        if footprint.flat:
            sides[0] = min(field.depth, covered[0])
        for axis in (2, 1, 0):
            times = min(BLOCK_VOXELS // math.prod(sides), -(-covered[axis] // sides[axis]))
            if times > 1 and not (axis == 0 and footprint.flat):
                sides[axis] *= times
        return tuple(sides)

    @property
    def _canvas_shape(self) -> Shape | tuple[None, ...]:
        return (None,) * 3 if self.field.canvas is None else self.field.canvas.shape

    @property
    def window(self) -> Shape:
        """The largest hull of a block's tiles."""
        return tuple(layout.window(side) for layout, side in zip(self._layouts((1, 1, 1)), self._block, strict=True))

    def traffic(self, read_unit: Shape) -> Traffic:
        grid, canvas = self.grid, self.field.canvas
        axes = []
        for axis, layout in enumerate(self._layouts(read_unit)):
            spans = [box.spans[0] for box in Grid(Box((grid.region.spans[axis],)), (grid.block[axis],))]
            if canvas is not None:
                spans = [span.intersect(canvas.spans[axis].shift(-layout.phase)) for span in spans]
            axes.append(layout.traffic(spans))
        return Traffic.product(axes)

    def _layouts(self, read_unit: Shape) -> list[AxisLayout]:
        field, reduction = self.field, self.reduction
        canvas = (None,) * 3 if field.canvas is None else field.canvas.spans
        return [AxisLayout(*args) for args in zip(field.tile, reduction.footprint.axes, canvas, field.volume[1:],
                                                  read_unit, reduction.phase, strict=True)]


def sweeps_of(predictor: Predictor, field: Field) -> list[list[Sweep]]:
    """Sweeps before the last pass: for each pass, its orientations. Most networks need none."""
    passes = predictor.capabilities.passes
    if passes is None:
        return []
    return [[Sweep(reduction, field, passes.of_slices) for reduction in orientations]
            for orientations in passes.reductions]
