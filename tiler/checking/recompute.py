"""Parts of an output computed again, with other tiles, whose seams lie elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tiler.geometry import Box, Shape, Span
from tiler.jobs.blend import segment_job
from tiler.jobs.reduce import stage_name, unpacked
from tiler.jobs.seams import Seams, seams_of
from tiler.jobs.segment import SegmentJob
from tiler.planning.plan import Plan
from tiler.planning.tile_choice import least_tile, tile_on_canvas
from tiler.ports import Array, Partial, Predictor, Sink
from tiler.running.journal import Journal
from tiler.running.run_spec import Task
from tiler.running.stages import known_from, reduction_jobs, scaled

STRIDES_AROUND = 2
SMALLEST_WINDOW = 32


@dataclass(frozen=True, slots=True)
class Compared:
    """One window, and how far stored and recomputed values are apart at worst."""

    box: Box
    worst: float


def other_tile(plan: Plan, predictor: Predictor) -> Shape:
    """A legal tile of another size, as near to two thirds of the core as there is."""
    if plan.essence["model"].get("average") == "rot7" or plan.tiling != "exact":
        return plan.tile  # it covers the slice, and there is no other; or the result is one of that tile
    cores = []
    for core, axis in zip(plan.footprint.core(plan.tile), plan.footprint.axes, strict=True):
        smaller = max(1, core * 2 // 3 // axis.stride) * axis.stride
        cores.append(smaller if smaller != core else core + axis.stride)
    if plan.footprint.flat:
        cores[0] = 1
    tile = tuple(map(max, plan.footprint.covering(tuple(cores)), least_tile(predictor)))
    if tile == plan.tile:  # the smallest that the passes before the last one leave a core in
        tile = tuple(side + axis.stride * (axis.smallest > 1) for side, axis in
                     zip(tile, plan.footprint.axes, strict=True))
    return tile_on_canvas(tile, plan.canvas)


def _window_at_a_corner(job: SegmentJob, index: int, random: np.random.Generator) -> Box:
    """A box around a corner of one of a block's tiles, where a wrong context shows first.

    It stays within the block, since the neighbours of a run that is not finished may not be written yet.
    """
    plan, tiles = job.plan, job.tiles(index)
    block = plan.grid[index]
    write = tiles[random.integers(len(tiles))].write
    spans = []
    for span, axis, whole in zip(write.spans, plan.footprint.axes, block.spans, strict=True):
        around = max(SMALLEST_WINDOW, STRIDES_AROUND * axis.stride)
        corner = span.start if random.integers(2) else span.stop
        spans.append(Span(corner - around, corner + around).intersect(whole))
    if plan.footprint.flat:
        spans[0] = Span(write.start[0], write.start[0] + 1)
    return Box(tuple(spans))


@dataclass(frozen=True, slots=True)
class Recomputation:
    """Windows of an output computed again."""

    task: Task
    journal: Journal
    sink: Sink
    predictor: Predictor

    def compare(self, windows: int, seed: int) -> list[Compared]:
        predictor, ran = self._ready, self.task.plan
        known = known_from(self.task, predictor, self.journal) if self.journal.records("model") else None
        plan = replace(ran, tile=other_tile(ran, predictor), footprint=predictor.footprint)
        random = np.random.default_rng(seed)
        chosen = random.permutation(sorted(self.journal.records("model")))[:windows]
        as_run = segment_job(ran, self.task.source, predictor, self.sink, known)
        boxes = [_window_at_a_corner(as_run, int(index), random) for index in chosen]
        jobs = [replace(as_run, plan=replace(plan, region=box, block=box.shape)) for box in boxes]
        return [self._compare(box, job.compute(0, job.read(0))) for box, job in zip(boxes, jobs, strict=True)]

    @property
    def _ready(self) -> Predictor:
        """With the statistics of the volume where its rule asks for them."""
        if self.task.statistics is None:
            return self.predictor
        return scaled(replace(self.task, predictor=self.predictor), self.journal)

    def passes_again(self, blocks: int, seed: int) -> Iterator[tuple[str, float]]:
        """Some blocks of each pass over whole inputs, and the share by which they differ with other tiles."""
        predictor, random = self._ready, np.random.default_rng(seed)
        if predictor.capabilities.passes is None or not self.journal.records("model"):
            return
        tile = other_tile(self.task.plan, predictor)
        for job in reduction_jobs(self.task, predictor, self.journal):
            records = self.journal.records(stage_name(job.level))
            for index in map(int, random.permutation(sorted(records))[:blocks]):
                pairs = zip(unpacked(records[index]), job.again(index, tile), strict=True)
                worst = max(_apart(one, other) for one, other in pairs)
                yield f"{job.where(index)} of {stage_name(job.level)}", worst

    def seams(self, seed: int) -> Seams | None:
        """What is not exact in a blended output; of instances, in the labels that they are made of, it is gone."""
        task = self.task
        if task.plan.tiling != "blend" or task.kind == "instances":
            return None
        predictor = task.predictor if task.statistics is None else scaled(task, self.journal)
        blocks = sorted(self.journal.records("model"))
        return seams_of(task.plan, task.source, predictor, self.sink, blocks, seed)

    def _compare(self, box: Box, values: Array) -> Compared:
        stored = self.sink.read(box.back(self.task.plan.region.start))
        if self.task.kind == "probabilities":
            return Compared(box, float(np.abs(stored.astype(np.float64) - values.astype(np.float64)).max()))
        return Compared(box, _missed_by(stored, values, self.task))


def _apart(one: Partial, other: Partial) -> float:
    """Largest difference as a share of the largest value."""
    pairs = ((one.sums, other.sums), (one.maxima, other.maxima))
    return max(float(np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-300)) for a, b in pairs)


def _missed_by(stored: Array, values: Array, task: Task) -> float:
    """How much less likely than the best a stored class is, at worst; 0 where it is the best.

    Small instances were dropped, so that background among instances says nothing where there is a least size.
    """
    scores = np.concatenate([1 - values, values]) if len(values) == 1 else values
    best, second = np.sort(scores, axis=0)[-1], np.sort(scores, axis=0)[-2]
    label = np.argmax(scores, axis=0)
    if task.kind == "instances":
        wrong = (stored[0] > 0) != (label > 0)
        if task.min_size > 1:
            wrong &= stored[0] > 0
    else:
        wrong = stored[0] != label
    return float(np.max(np.where(wrong, best - second, 0.0), initial=0.0))
