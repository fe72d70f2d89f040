"""A result as a dask array: one task per block, made when it is needed.

::

    key (name, i, j, k) -> block of the plan -> what it reads -> chunks of a dask source -> task

The graph makes tasks on demand and stores none, so that its size does not depend on the size of the volume. If the
source is a dask array, its chunks are dependencies of the task, and dask computes, keeps and shares them; any other
source is read by the task itself.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, product
from typing import Any

import dask.array as da
import numpy as np
from dask._task_spec import DataNode, GraphNode, Task, TaskRef
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer

from tiler.errors import PlanError
from tiler.executors.block_steps import compute, computing, read
from tiler.geometry import Box, Reach, Shape, Span, reads_of
from tiler.jobs.segment import SegmentJob
from tiler.opening import Opened, open_all
from tiler.options import AUTO, TABLE, Options, ResolvedOptions
from tiler.planning.plan import Plan
from tiler.planning.reads import inside
from tiler.ports import KINDS, Array, Json, OutputSpec, Predictor, Source
from tiler.running.destination import InMemory
from tiler.running.output_spec import network_spec
from tiler.running.start import run_spec
from tiler.sinks import open_sink
from tiler.sinks.layout import Layout
from tiler.sources.raw import Header, Index
from tiler.sources.volume import VolumeSource

Cell = tuple[int, ...]
Key = tuple[str | int, ...] | str


def lazy_result(source: Any, model: Any, options: Options, trust: bool) -> da.Array:
    """The dask array behind `tiler.lazy`.

    Raises
    ------
    PlanError
        If blocks cannot be computed independently: instances, or normalisation by the whole volume.
    """
    options.refuse([name for name, option in TABLE.items() if option.of_output],
                   "a lazy result is neither written nor run by tiler")
    opened = open_all(source, model, options, trust)
    _check(opened.options)
    if opened.predictor.capabilities.blended:
        raise PlanError("a lazy result is made of exact tiles, this one would be blended: write it with "
                        "tiler.segment, or take every input in one piece (`tiling=whole`)")
    upstream = _dask_array(opened.source)
    plan = opened.plan()
    if plan.out_of_core:
        raise PlanError("a lazy result is computed from inputs whose stages stay in memory: write it with "
                        "tiler.segment, which can store tensors on disk, or raise `memory` and leave out `block`")
    if upstream is not None and opened.options.block is AUTO and not opened.predictor.capabilities.in_one_piece:
        plan = _aligned(opened, plan)
    spec = network_spec(run_spec(opened, plan, InMemory()), opened.kind)
    plan = replace(plan, block=_within_slabs(plan.block, Layout.of(spec)))
    work = Work(plan, opened.source, opened.predictor, spec, None)
    if upstream is not None:
        work = replace(work, source=_with_parts(opened.source, ()), chunks=Chunks.of(upstream))
    layer = BlockLayer(f"tiler-{uuid.uuid4().hex}", work)
    sources: list[Any] = [] if upstream is None else [upstream]
    graph = HighLevelGraph.from_collections(layer.name, layer, dependencies=sources)
    return da.Array(graph, layer.name, work.output_chunks, dtype=spec.dtype)


def _check(options: ResolvedOptions) -> None:
    if KINDS[options.kind].numbered:
        raise PlanError("instances are numbered through the whole volume, a lazy result is made block by block: "
                        "take `kind=labels`, or write them with tiler.segment", option="kind")
    if options.normalise.measured:
        raise PlanError("a lazy result cannot wait for the statistics of the whole volume: give "
                        "`normalise=MEAN,STD`, or use tiler.segment", option="normalise")


def _dask_array(source: Source) -> da.Array | None:
    """The dask array behind a source; None for other sources."""
    array = getattr(source.raw, "array", None) if isinstance(source, VolumeSource) else None
    return array if isinstance(array, da.Array) else None


def _with_parts(source: Source, parts: tuple[tuple[Box, Array], ...]) -> VolumeSource:
    """The same view of an array, with only some of its chunks available."""
    assert isinstance(source, VolumeSource)
    return replace(source, raw=Pieces(source.raw.header, parts))


def _aligned(opened: Opened, plan: Plan) -> Plan:
    """The plan with blocks of whole source chunks, so that neighbouring blocks share as few chunks as possible."""
    units = opened.source.read_unit
    block = tuple(-(-side // unit) * unit for side, unit in zip(plan.block, units, strict=True))
    return replace(opened, options=replace(opened.options, tile=plan.tile, block=block, memory=AUTO)).plan()


def _within_slabs(block: Shape, layout: Layout) -> Shape:
    """A block shape such that no block extends over two time points."""
    depth = math.gcd(block[0], layout.sizes[-1]) if len(layout.sizes) > 1 else block[0]
    return (depth, *block[1:])


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks of a dask array: its name, and the bounds of the chunks on each axis."""

    name: str
    bounds: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, array: da.Array) -> Chunks:
        return cls(array.name, tuple((0, *accumulate(sizes)) for sizes in array.chunks))

    def touching(self, index: Index) -> Iterator[Cell]:
        """The chunks that a slice overlaps."""
        ranges = []
        for part, bounds in zip(index, self.bounds, strict=True):
            first, last = np.searchsorted(bounds, [part.start, part.stop - 1], side="right") - 1
            ranges.append(range(int(first), int(last) + 1))
        return product(*ranges)

    def place(self, cell: Cell) -> Box:
        return Box(tuple(Span(bounds[i], bounds[i + 1]) for i, bounds in zip(cell, self.bounds, strict=True)))


@dataclass(frozen=True, slots=True)
class Pieces:
    """Some chunks of an array in place of the whole array: a `tiler.sources.raw.RawImage`."""

    header: Header
    parts: tuple[tuple[Box, Array], ...]

    def fetch(self, index: Index) -> Array:
        wanted = Box.between([part.start for part in index], [part.stop for part in index])
        out = np.empty(wanted.shape, self.header.dtype)
        for place, data in self.parts:
            common = place.intersect(wanted)
            out[common.back(wanted.start).slices] = data[common.back(place.start).slices]
        return out

    def identity(self) -> Json | None:
        return None


@dataclass(frozen=True, slots=True)
class Work:
    """Data that all tasks share; each worker receives it once.

    Parameters
    ----------
    plan, source, predictor, spec
        As in a run. A dask source has no voxels here; they arrive as `Pieces`.
    chunks
        Chunks of a dask source, None for other sources.
    """

    plan: Plan
    source: Any
    predictor: Predictor
    spec: OutputSpec
    chunks: Chunks | None

    @property
    def layout(self) -> Layout:
        return Layout.of(self.spec)

    @property
    def output_chunks(self) -> tuple[tuple[int, ...], ...]:
        """Lengths of the result's chunks on each of its axes."""
        layout = self.layout
        depth, height, width = self.plan.block
        lead = [1] * (len(layout.sizes) - 1) + [depth] if layout.sizes else []
        sides = layout.with_channels((*lead, height, width), layout.volume[0])
        return tuple(tuple(min(side, size - start) for start in range(0, size, side))
                     for side, size in zip(sides, layout.shape, strict=True))

    def cells_for(self, block: int) -> list[Cell]:
        """The chunks of the source that a block reads."""
        if self.chunks is None:
            return []
        plan, seen = self.plan, dict[Cell, None]()
        canvas = (None,) * len(plan.tile) if plan.canvas is None else plan.canvas.spans
        needed = map(_needed, plan.grid[block].spans, plan.tile, plan.footprint.axes, canvas, self.source.shape[1:])

        def note(index: Index) -> Array:
            seen.update(dict.fromkeys(self.chunks.touching(index)))  # type: ignore[union-attr]  # checked above
            return np.broadcast_to(np.zeros((), bool), [part.stop - part.start for part in index])

        self.source.view.read(Box(tuple(needed)), note)
        return list(seen)

    def folded(self, data: Array) -> Array:
        """A block ``(c, z, y, x)`` in the axes of the result."""
        layout = self.layout
        lead = (1,) * (len(layout.sizes) - 1) + data.shape[1:2] if layout.sizes else ()
        wide = data.reshape(data.shape[0], *lead, *data.shape[2:])
        return np.moveaxis(wide, 0, layout.axes.index("c")) if layout.channel_axis else wide[0]


@lru_cache(maxsize=4096)
def _needed(block: Span, tile: int, reach: Reach, canvas: Span | None, size: int) -> Span:
    """Range of the volume that a block reads along one axis."""
    return inside(reads_of(block, tile, reach, canvas)[1], size)


def make_block(work: Work, block: int, cells: list[Cell], *parts: Array) -> Array:
    """One chunk of the result, in the axes of the result. Runs in a worker."""
    source = work.source
    if work.chunks is not None:
        placed = tuple((work.chunks.place(cell), np.asarray(part)) for cell, part in zip(cells, parts, strict=True))
        source = _with_parts(source, placed)
    job = SegmentJob(work.plan, source, work.predictor, open_sink(None, work.spec))
    window = read(job, block)
    with computing(job):
        return work.folded(compute(job, window)[1])


class BlockLayer(Layer):
    """A dask graph that makes the task of a key when it is looked up.

    Parameters
    ----------
    name
        First part of the keys, and name of the array.
    work
        Data that all tasks share. It is a task of its own, so that a worker receives it once.
    """

    has_legacy_tasks = False

    def __init__(self, name: str, work: Work) -> None:
        super().__init__()
        self.name, self.work = name, work
        self._counts = tuple(len(sizes) for sizes in work.output_chunks)
        self._channel = work.layout.axes.index("c") if work.layout.channel_axis else None

    @property
    def shared(self) -> str:
        """Key of the data that all tasks share."""
        return f"{self.name}-work"

    def __getitem__(self, key: Any) -> GraphNode:
        if key == self.shared:
            return DataNode(key, self.work)
        if key not in self:
            raise KeyError(key)
        block = self._block_of(key[1:])
        cells = self.work.cells_for(block)
        parts = [TaskRef((self.work.chunks.name, *cell)) for cell in cells] if self.work.chunks else []
        return Task(key, make_block, TaskRef(self.shared), block, cells, *parts)

    def _block_of(self, cell: Cell) -> int:
        """Number of a chunk of the result in the plan's grid, which has no channel axis."""
        pairs = [pair for axis, pair in enumerate(zip(cell, self._counts, strict=True)) if axis != self._channel]
        place, counts = zip(*pairs, strict=True)
        return int(np.ravel_multi_index(place, counts))

    def __contains__(self, key: object) -> bool:
        if key == self.shared:
            return True
        return (isinstance(key, tuple) and key[:1] == (self.name,) and len(key) == len(self._counts) + 1
                and all(isinstance(i, int) and 0 <= i < n for i, n in zip(key[1:], self._counts, strict=True)))

    def __iter__(self) -> Iterator[Key]:
        yield self.shared
        for cell in product(*map(range, self._counts)):
            yield (self.name, *cell)

    def __len__(self) -> int:
        return math.prod(self._counts) + 1

    def is_materialized(self) -> bool:
        return False

    def get_output_keys(self) -> Any:
        """A view: the keys are never listed."""
        return self.keys()

    def cull(self, keys: set[Any], all_hlg_keys: Collection[Any]) -> tuple[Layer, dict[Any, set[Any]]]:
        """Only the requested tasks and their dependencies."""
        asked = [key for key in keys if key in self]
        made = {key: self[key] for key in [self.shared, *asked]} if asked else {}
        return MaterializedLayer(made, self.annotations), {key: set(node.dependencies) for key, node in made.items()}
