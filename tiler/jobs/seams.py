"""Error of a blended result, measured as its difference from a result with shifted windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from tiler.geometry import Box, Span
from tiler.jobs.blend import BlendJob
from tiler.jobs.masked import Part
from tiler.planning.plan import Plan
from tiler.planning.tile_choice import spell
from tiler.ports import Array, Predictor, Sink, Source

SAMPLES = 4
SIDE = 32
"""Voxels of a sample on either side of the corner of a window."""


@dataclass(frozen=True, slots=True)
class Seams:
    """Measured differences.

    Parameters
    ----------
    samples
        Number of places around corners of windows that were recomputed, with windows shifted by half a hop, or larger
        by one stride if a hop is a single stride.
    worst, mean
        Largest and mean difference there; for labels, largest and mean share of voxels that differ.
    reach
        Range of the values there, for comparison.
    """

    samples: int
    worst: float
    mean: float
    reach: float

    def __str__(self) -> str:
        return (f"windows that lie elsewhere differ by {self.worst:.2g} at most and {self.mean:.2g} in the mean, where "
                f"values range over {self.reach:.2g} (at {self.samples} places)")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def note_of(plan: Plan, source: Source, predictor: Predictor, sink: Sink, part: Part | None = None) -> dict[str, Any]:
    """Note on the error of a blended output, measured on the written voxels and stored with it."""
    found = seams_of(plan, source, predictor, sink, list(range(len(plan.grid))), seed=0, part=part)
    if found is None and BlendJob(plan, source, predictor, sink).windows.blended:
        says = (f"the result is blended from windows of {spell(plan.tile)}, an approximation, since "
                f"{predictor.capabilities.untiled}; no place around the corner of a window is segmented, so that its "
                "error was not measured")
    elif found is None:
        says = f"one window of {spell(plan.tile)} covers every input, so that nothing was blended"
    else:
        says = (f"the result is blended from windows of {spell(plan.tile)}, an approximation, since "
                f"{predictor.capabilities.untiled}; {found}")
    return {"tiling": plan.tiling, "says": says, "seams": found and found.to_json()}


def seams_of(
    plan: Plan, source: Source, predictor: Predictor, sink: Sink, blocks: list[int], seed: int,
    part: Part | None = None
) -> Seams | None:
    """Measure the seams at some of the written blocks; None if one window covers everything, or no place is segmented.

    Parameters
    ----------
    plan, source, predictor
        Plan, source and predictor of the run.
    sink
        Sink that holds the blended values.
    blocks
        Indices of the written blocks, from which a few are drawn.
    seed
        Seed of the random draw.
    part
        What is segmented, None for all; elsewhere the stored values are 0 and say nothing.
    """
    job = BlendJob(plan, source, predictor, sink)
    if not job.windows.blended or not blocks:
        return None
    random = np.random.default_rng(seed)
    boxes = (_sample(job, int(index), random) for index in random.permutation(blocks))
    pairs = list(islice(_pairs(job, boxes, part), SAMPLES))
    if not pairs:
        return None
    apart = [_apart(stored, other) for stored, other in pairs]
    values = np.concatenate([stored.ravel() for stored, _ in pairs]).astype(np.float64)
    return Seams(len(pairs), max(worst for worst, _ in apart), float(np.mean([mean for _, mean in apart])),
                 float(np.ptp(values)))


def _sample(job: BlendJob, index: int, random: np.random.Generator) -> Box:
    """A box around a corner of one of the run's windows, within the block."""
    block = job.plan.grid[index]
    tiles = job.tiles(index)
    corner = tiles[random.integers(len(tiles))].write.start
    spans = [Span(place - SIDE, place + SIDE).intersect(whole)
             for place, whole in zip(corner, block.spans, strict=True)]
    if job.plan.footprint.flat:
        spans[0] = Span(corner[0], corner[0] + 1)
    return Box(tuple(spans))


def _pairs(job: BlendJob, boxes: Iterator[Box], part: Part | None) -> Iterator[tuple[Array, Array]]:
    """Stored and recomputed values ``(c, n)`` of the segmented voxels of each box that has some."""
    for box in boxes:
        inside = np.ones(box.shape, bool) if part is None else part.read(box)
        if inside.any():
            stored, other = _pair(job, box)
            yield stored[:, inside], other[:, inside]


def _pair(job: BlendJob, box: Box) -> tuple[Array, Array]:
    """The stored values, and those computed with shifted windows."""
    moved = replace(job, plan=replace(job.plan, region=box, block=box.shape), shifted=True)
    again = moved if moved.windows.movable else replace(moved, plan=_with_larger_windows(moved.plan), shifted=False)
    stored = job.sink.read(box.back(job.plan.region.start))
    return stored, again.compute(0, again.read(0))


def _with_larger_windows(plan: Plan) -> Plan:
    """Enlarge windows by one stride if they are too small to be moved by less than a hop."""
    assert plan.canvas is not None
    sides = [min(full, side + step * (side > 1)) for full, side, step in
             zip(plan.canvas.shape, plan.tile, plan.footprint.stride, strict=True)]
    return replace(plan, tile=tuple(sides))


def _apart(stored: Array, other: Array) -> tuple[float, float]:
    """Largest and mean difference; for labels, which have no order, the share of voxels that differ."""
    if stored.dtype.kind in "iu":
        share = float((stored != other).mean())
        return share, share
    difference = np.abs(stored.astype(np.float64) - other.astype(np.float64))
    return float(difference.max()), float(difference.mean())
