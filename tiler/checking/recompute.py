"""Recompute parts of an output with tiles of another size, which have their seams at other places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tiler.checking.stored_windows import window_again
from tiler.geometry import Box, Shape, Span
from tiler.jobs.blend import segment_job
from tiler.jobs.seams import Seams, seams_of
from tiler.jobs.segment import SegmentJob
from tiler.planning.plan import Plan
from tiler.planning.tile_choice import tile_on_canvas
from tiler.ports import Array, Predictor, Sink
from tiler.running.journal import Journal
from tiler.running.run_spec import RunSpec
from tiler.running.stage import Findings
from tiler.running.stages import NETWORK, completed, ready_predictor, stages_of

STRIDES_AROUND = 2
SMALLEST_WINDOW = 32


@dataclass(frozen=True, slots=True)
class Compared:
    """A window and the largest difference of its stored and recomputed values."""

    box: Box
    worst: float


def other_tile(plan: Plan) -> Shape:
    """A legal tile of another size, with a core as close as possible to two thirds of the original core."""
    if plan.essence["model"].get("average") == "rot7" or not plan.tiled:
        return plan.tile  # the tile covers the slice, or the result depends on the tile: no other is possible
    cores = []
    for core, axis in zip(plan.footprint.core(plan.tile), plan.footprint.axes, strict=True):
        smaller = max(1, core * 2 // 3 // axis.stride) * axis.stride
        cores.append(smaller if smaller != core else core + axis.stride)
    if plan.footprint.flat:
        cores[0] = 1
    return tile_on_canvas(plan.footprint.covering(tuple(cores)), plan.canvas)


def _window_at_a_corner(job: SegmentJob, index: int, random: np.random.Generator) -> Box:
    """A box around a corner of one of a block's tiles, where a wrong context shows first.

    It stays within the block, because neighbours may not be written yet if the run is unfinished.
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
    """Windows of an output computed again.

    Parameters
    ----------
    run, journal, sink
        The run, its record and its output.
    predictor
        Computes the values for comparison: the output itself if its values are ordered, else class probabilities.
    """

    run: RunSpec
    journal: Journal
    sink: Sink
    predictor: Predictor

    def compare(self, windows: int, seed: int) -> list[Compared]:
        """Recompute windows around the corners of tiles, with tiles of another size."""
        records = self.journal.records(NETWORK)
        if not records or self.run.step is not None:  # windows hold no context for the user's step
            return []
        run, ran = replace(self.run, predictor=self.predictor), self.run.plan
        predictor = ready_predictor(run, self._found)
        plan = replace(ran, tile=other_tile(ran), footprint=predictor.footprint)
        random = np.random.default_rng(seed)
        chosen = random.permutation(sorted(records))[:windows]
        as_run = segment_job(ran, run.source, predictor, self.sink)
        boxes = [_window_at_a_corner(as_run, int(index), random) for index in chosen]
        if ran.out_of_core:
            return [self._compare(box, window_again(run, self.sink, predictor, self._results, box)) for box in boxes]
        jobs = [replace(as_run, plan=replace(plan, region=box, block=box.shape)) for box in boxes]
        return [self._compare(box, job.compute(0, job.read(0))) for box, job in zip(boxes, jobs, strict=True)]

    @property
    def _found(self) -> Findings:
        """Results of the stages before the network's last pass."""
        return next(found for stage, found, _ in completed(stages_of(self.run), self.journal) if stage.name == NETWORK)

    @property
    def _results(self) -> Findings:
        """Results of all complete stages."""
        found: dict[str, object] = {}
        for stage, before, records in completed(stages_of(self.run), self.journal):
            found = {**before} if stage.left(records) else {**before, stage.name: stage.merge(before, records)}
        return found

    def seams(self, seed: int) -> Seams | None:
        """Error of a blended output; None for instances, whose values no longer show it."""
        run, records = self.run, self.journal.records(NETWORK)
        if not run.plan.blended or run.result.kind.classes is None or run.step is not None or not records:
            return None
        return seams_of(run.plan, run.source, ready_predictor(run, self._found), self.sink, sorted(records), seed,
                        run.part)

    def _compare(self, box: Box, values: Array) -> Compared:
        stored = self.sink.read(box.back(self.run.plan.region.start))
        inside = np.ones(box.shape, bool) if self.run.part is None else self.run.part.read(box)
        if not inside.any():
            return Compared(box, 0.0)
        return Compared(box, self.run.result.difference(stored[:, inside], values[:, inside], self.run.rules))

