"""Memory, operations and decoded chunks of a run, for any candidate tile and block."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property

from tiler.bounded_map import LEAST, Depths
from tiler.geometry import Box, Grid, Shape, Span
from tiler.planning.blend_windows import BlendedAxis
from tiler.planning.block_order import AxisChunks, Visit, best_visit
from tiler.planning.chunks import OPEN, Grain
from tiler.planning.reads import AxisLayout, Traffic
from tiler.planning.speed import Speed
from tiler.ports import Capabilities, Cost, Predictor, Source

CALL_FLOPS = 2e7
DECODE_FLOPS = 50.0
"""Overhead of one call of the network, and cost of decoding one voxel, as the operations that take as long."""

LIBRARIES = 64 << 20
"""Memory of codecs, their threads and pyramid levels, which the plan does not count; measured: 15 to 60 MiB."""

CODECS = 10
"""Chunks that zarr encodes or decodes at once."""

PINNED = 2
"""Host memory over bytes copied to and from devices: torch rounds pinned memory up to powers of two."""

BATCH_VOXELS = 1 << 19
FEW_DECODES = 1.2


@dataclass(frozen=True, slots=True)
class Choice:
    """Shapes of tile and block, and number of tiles per forward pass."""

    tile: Shape
    block: Shape
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Budget:
    """Memory that a run may take, and memory that the process already uses, in bytes."""

    bytes: int
    used: int

    @property
    def left(self) -> int:
        return self.bytes - self.used


@dataclass(frozen=True, eq=False)
class Workload:
    """A volume, a network and a region, for which tiles and blocks are chosen."""

    source: Source
    predictor: Predictor
    region: Box
    canvas: Box | None
    speed: Speed | None = None
    workers: int = LEAST
    grain: Grain = OPEN

    @property
    def canvas_shape(self) -> Shape | tuple[None, ...]:
        return (None,) * len(self.region.spans) if self.canvas is None else self.canvas.shape

    def cost(self, tile: Shape, batch: int = 1) -> Cost:
        return self.predictor.cost(tile, batch)

    def bytes(self, choice: Choice) -> int:
        """Memory on this machine beyond that of the process.

        It holds windows ahead, results behind, one batch in the model, and chunks in codecs.
        """
        source, predictor = self.source, self.predictor
        block = tuple(map(min, choice.block, self.region.shape))
        window = tuple(layout.window(side) for layout, side in zip(self._layouts(choice.tile), block, strict=True))
        voxel_in, voxel_out = source.shape[0] * source.dtype.itemsize, bytes_out(predictor)
        batch = choice.batch * math.prod(choice.tile)
        return (self._depths.held * (math.prod(window) * voxel_in + math.prod(block) * voxel_out)
                + self._fed(batch * voxel_in, batch * voxel_out, self.cost(choice.tile, choice.batch))
                + _in_codecs(window, source.read_unit) * voxel_in
                + _in_codecs(block, self.grain.chunk_of(choice.block, self.region.shape)) * voxel_out + LIBRARIES)

    def _fed(self, given: int, result: int, cost: Cost) -> int:
        """Memory of all simultaneous forward passes, each with its input and its result."""
        inside = cost.bytes if self.device_memory is None else PINNED * (given + result)
        return self._depths.feeders * (given + inside)

    @property
    def _depths(self) -> Depths:
        return Depths(self.workers, self._can.feeders)

    @cached_property
    def _can(self) -> Capabilities:
        return self.predictor.capabilities

    @property
    def device_memory(self) -> int | None:
        """Memory for one pass on its device; None if passes use the machine's own memory."""
        return self._can.device_memory

    def pass_bytes(self, choice: Choice) -> int:
        """Memory of the largest pass, on the device where it runs."""
        return self.cost(choice.tile, choice.batch).bytes

    def fits_devices(self, choice: Choice) -> bool:
        return self.device_memory is None or self.pass_bytes(choice) <= self.device_memory

    def fits(self, choice: Choice, budget: Budget) -> bool:
        return self.bytes(choice) <= budget.left and self.fits_devices(choice)

    def batch_for(self, tile: Shape, block: Shape, budget: Budget) -> int:
        """Number of tiles per forward pass: enough to outweigh its overhead, and no more than fit into memory."""
        a_block = -(-self.traffic(tile, block).tiles // len(Grid(self.region, block)))
        batch = max(1, min(a_block, BATCH_VOXELS // math.prod(tile)))
        while batch > 1 and not self.fits(Choice(tile, block, batch), budget):
            batch //= 2
        return batch

    def effort(self, choice: Choice) -> float:
        """Cost of a choice in floating-point operations; other work counts as the operations that take as long."""
        traffic = self.traffic(choice.tile, choice.block)
        decoding = traffic.decoded * self.source.shape[0] * DECODE_FLOPS
        if self.speed is None:
            return self.flops(choice) + traffic.tiles * CALL_FLOPS + decoding
        return self.speed.passes(self.flops(choice), traffic.tiles) / self.speed.operation + decoding

    def seconds(self, choice: Choice) -> float | None:
        """Seconds of the passes, None if their speed was not measured; reading and writing overlap with them."""
        if self.speed is None:
            return None
        return self.speed.passes(self.flops(choice), self.traffic(choice.tile, choice.block).tiles)

    def flops(self, choice: Choice) -> float:
        """Floating-point operations of all forward passes."""
        if self._can.crops is not None:
            spans = [self._axis_crops(*args) for args in self._by_axis(choice)]
            return self._can.crops.crop_flops(choice.tile, spans)
        return self.traffic(choice.tile, choice.block).tiles * self.cost(choice.tile).flops

    def traffic(self, tile: Shape, block: Shape) -> Traffic:
        """Totals over all blocks."""
        return Traffic.product([self._axis_traffic(*args) for args in self._by_axis(Choice(tile, block))])

    def visit(self, choice: Choice, budget: Budget) -> Visit:
        """Order in which the blocks are visited, and the cache of chunks that they share."""
        # A cache of voxels that need no decoding would only copy them.
        spare = budget.left - self.bytes(choice) if self._chunked else 0
        return best_visit(self.chunks(choice), self.source.shape[0] * self.source.dtype.itemsize, spare,
                          self._depths.beside)

    def decodes_little(self, choice: Choice, budget: Budget) -> bool:
        return not self._chunked or self.visit(choice, budget).decodes <= FEW_DECODES

    @property
    def _chunked(self) -> bool:
        return math.prod(self.source.read_unit) > 1

    def chunks(self, choice: Choice) -> list[AxisChunks]:
        """Chunks that the blocks read, along each axis."""
        return [self._axis_chunks(*args) for args in self._by_axis(choice)]

    @cache  # noqa: B019  a workload lives as long as the planning of one run
    def _axis_chunks(self, layout: AxisLayout, blocks: Grid) -> AxisChunks:
        return AxisChunks([layout.needed(box.spans[0]) for box in blocks], layout.unit, layout.size)

    def _by_axis(self, choice: Choice) -> Iterable[tuple[AxisLayout, Grid]]:
        grids = (Grid(Box((span,)), (side,)) for span, side in zip(self.region.spans, choice.block, strict=True))
        return zip(self._layouts(choice.tile), grids, strict=True)

    def _layouts(self, tile: Shape) -> list[AxisLayout]:
        canvas = (None,) * len(tile) if self.canvas is None else self.canvas.spans
        layout = BlendedAxis if self._can.blended else AxisLayout
        return [layout(*args) for args in zip(tile, self.predictor.footprint.axes, canvas, self.source.shape[1:],
                                                  self.source.read_unit, strict=True)]

    @cache  # noqa: B019  a workload lives as long as the planning of one run
    def _axis_crops(self, layout: AxisLayout, blocks: Grid) -> Counter[Span]:
        return Counter(piece.crop.spans[0] for box in blocks for piece in layout.tiles(box.spans[0]))

    @cache  # noqa: B019  a workload lives as long as the planning of one run
    def _axis_traffic(self, layout: AxisLayout, blocks: Grid) -> Traffic:
        return layout.traffic(box.spans[0] for box in blocks)

    @cached_property
    def _whole(self) -> Shape:
        if self.canvas is not None and self.region.shape == self.source.shape[1:]:
            return self.canvas.shape
        return self.predictor.footprint.covering(self.region.shape)

    def whole_pass(self) -> float:
        """FLOPs of one pass over the region, context included: the least that any tiling needs.

        Slices that are segmented independently cost the same, so one of them represents all.
        """
        if not self.predictor.footprint.flat:
            return self._plain(self._whole)
        return self._plain((1, *self._whole[1:])) * self._whole[0]

    def _plain(self, tile: Shape) -> float:
        """FLOPs of one plain pass."""
        cost = self.cost(tile)
        return cost.flops / cost.work


def _in_codecs(box: Shape, chunk: Shape) -> int:
    """Voxels of the chunks that are decoded or encoded at once for a box."""
    touched = math.prod(-(-size // side) + 1 for size, side in zip(box, chunk, strict=True))
    return 0 if math.prod(chunk) == 1 else min(CODECS, touched) * math.prod(chunk)


def bytes_out(predictor: Predictor) -> int:
    """Bytes of the result per voxel."""
    return len(predictor.classes) * predictor.dtype.itemsize
