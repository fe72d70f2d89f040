"""Make the plan of a run from the settings of the user.

`resolve` converts `Settings` to a frozen `Plan` without reading a voxel or listing a block. It makes every open choice,
once: afterwards the plan is trusted, stored in the journal, and loaded again by a resumed run.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from tiler.bounded_map import LEAST
from tiler.errors import GeometryError, MemoryBudgetError, PlanError
from tiler.geometry import Box, Grid, canvas_of
from tiler.machine import anonymous_memory, available_memory
from tiler.planning.block_order import Visit
from tiler.planning.chunks import Grain, full_size
from tiler.planning.fit import fit
from tiler.planning.plan import FORMAT, Estimate, Plan, Settings
from tiler.planning.speed import speed_of
from tiler.planning.tile_choice import MB, block_for
from tiler.planning.workload import Budget, Choice, Workload
from tiler.ports import Border, Json, Predictor, Source


def resolve(settings: Settings, source: Source, predictor: Predictor, extra: Json | None = None,
            tune: bool = False, split: int = 0) -> Plan:
    """Choose every setting that the user left open and check the ones that were given.

    Parameters
    ----------
    settings
        Settings that the user chose.
    source, predictor
        Only their shapes, types and identities are used.
    extra
        Further settings that can change the result (post-processing).
    tune
        Whether to time the network for a few seconds before a large run; see `tiler.planning.speed`.
    split
        Bytes that splitting the largest object takes, after the last pass of the network; 0 if none are split.

    Raises
    ------
    GeometryError
        If the tile is not legal or the region does not lie in the volume.
    MemoryBudgetError
        If no tile fits into the budget; the message gives the smallest sufficient budget.
    """
    _check_channels(source, predictor)
    region = _region(settings.region, source)
    border = settings.border or predictor.border
    free = available_memory()
    speed = speed_of(predictor, source, region, settings.memory or free // 2) if tune else None
    load = Workload(source, predictor, region, _canvas(border, source, predictor), speed,
                    settings.readers or LEAST, grain_of(settings, predictor.footprint.flat))
    budget = Budget(settings.memory or free // 2, anonymous_memory())
    # Explicit settings may take more than the default half of the memory, but not more than is available.
    limit = settings.memory or free + budget.used
    _check_split(split, budget.used, limit)
    found = fit(load, settings, budget, limit, split)
    choice, visit, scratch = found.choice, found.visit, found.scratch
    if scratch is not None:  # values depend on the blocks of tensors, not on those that are written
        extra = {**(extra or {}), "block": min(scratch.voxels, math.prod(choice.tile))}
    return Plan(
        region=region,
        tile=choice.tile,
        block=choice.block,
        chunk=load.grain.chunk_of(choice.block, region.shape),
        shard=load.grain.shard_of(choice.block, region.shape),
        batch=choice.batch,
        strip=visit.strip,
        cache=visit.cache,
        workers=settings.workers or 2,
        memory=budget.bytes,
        border=border,
        nan=settings.nan,
        canvas=load.canvas,
        footprint=predictor.footprint,
        estimate=replace(_estimate(load, found.work, visit, found.peak), blocks=len(Grid(region, choice.block))),
        essence=_essence(load, choice, {"border": border, "nan": settings.nan, **(extra or {})}),
        tiling=predictor.capabilities.tiling,
        execution=predictor.capabilities.execution,
        scratch=scratch,
    )


def _check_split(split: int, used: int, limit: int) -> None:
    """Refuse to split objects so large that this would not fit into memory."""
    if split and used + split > limit:
        raise MemoryBudgetError(f"splitting the largest objects needs {(used + split) // MB + 1} MB, there are "
                                f"{limit // MB} MB: raise `memory` or lower `split_limit`")


def _estimate(load: Workload, choice: Choice, visit: Visit, peak: int) -> Estimate:
    last, one, flops = load.traffic(choice.tile, choice.block), load.cost(choice.tile), load.flops(choice)
    source, predictor = load.source, load.predictor
    voxel = source.shape[0] * source.dtype.itemsize
    return Estimate(
        blocks=len(Grid(load.region, choice.block)),
        tiles=last.tiles,
        bytes_read=last.read * voxel,
        bytes_decoded=visit.decoded * voxel,
        decodes=visit.decodes,
        seconds=load.seconds(choice),
        bytes_written=load.region.voxels * len(predictor.classes) * predictor.dtype.itemsize,
        flops=flops,
        redundant=max(0.0, 1 - load.whole_pass() / flops) if flops else 0.0,
        peak_bytes=peak,
        exact=one.exact,
        stages=one.stages,
        statistics=one.statistics,
        chunk_cost=_chunk_cost(load, choice),
    )


def _chunk_cost(load: Workload, choice: Choice) -> float:
    """Share by which chosen chunks or shards make a run dearer than the blocks that tiler would take."""
    if max(load.grain.unit) == 1 or load.predictor.capabilities.in_one_piece:
        return 0.0
    free = replace(load, grain=Grain())
    own = free.effort(Choice(choice.tile, block_for(free, choice.tile), choice.batch))
    return max(0.0, load.effort(choice) / own - 1)


def _check_channels(source: Source, predictor: Predictor) -> None:
    if source.shape[0] != predictor.in_channels:
        raise PlanError(
            f"{source.name} has {source.shape[0]} channels, the network takes "
            f"{predictor.in_channels}: choose with `channel`"
        )


def _region(region: Box | None, source: Source) -> Box:
    volume = Box.of_shape(source.shape[1:])
    if region is None:
        return volume
    if not volume.contains(region) or not region.voxels:
        raise GeometryError(f"region {region} does not lie in the volume {volume} of {source.name}", option="roi")
    return region


def _canvas(border: Border, source: Source, predictor: Predictor) -> Box | None:
    if border == "mirror" and not predictor.capabilities.tiled:
        raise PlanError("a network that is not tiled exactly meets its own padding at the faces of the volume: use "
                        "`border=zero`")
    if border == "mirror":
        return None
    footprint = predictor.footprint
    if not footprint.keeps_size:
        raise PlanError(
            "a zero border needs a network that keeps its size; this one drops "
            f"{footprint.shrink_low} and {footprint.shrink_high} voxels: use `border=mirror`"
        )
    volume = Box.of_shape(source.shape[1:])
    return Box(tuple(canvas_of(span, axis) for span, axis in zip(volume.spans, footprint.axes, strict=True)))


def grain_of(settings: Settings, flat: bool) -> Grain:
    """Chunks and shards that the user chose, along all axes."""
    shard = settings.shard
    if isinstance(shard, tuple):
        shard = full_size(shard, flat, "shard")
    return Grain(full_size(settings.chunk, flat, "chunk"), shard)


def essence_of(source: Source, predictor: Predictor) -> dict[str, Any]:
    """Properties of the source and the predictor that can change the result."""
    essence: dict[str, Any] = {
        "source": source.identity,
        "shape": source.shape,
        "dtype": np.dtype(source.dtype).name,
        "model": predictor.identity,
        "footprint": asdict(predictor.footprint),
    }
    can = predictor.capabilities
    if not can.exact:
        essence["tiling"] = can.tiling
    if can.staged:
        essence["execution"] = can.execution
    return essence


def _essence(load: Workload, choice: Choice, extra: Json) -> Json:
    return as_loaded(
        {
            "format": FORMAT,
            **essence_of(load.source, load.predictor),
            "region": [load.region.start, load.region.stop],
            "tile": choice.tile,
            "block": choice.block,
            **extra,
        }
    )


def as_loaded(content: Json) -> Json:
    """JSON as it is after loading, with lists in place of tuples."""
    loaded: Json = json.loads(json.dumps(content))
    return loaded
