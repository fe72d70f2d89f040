"""Is an output what its journal and its model say? The work behind `tiler check`.

First every block is read and compared with its journalled checksum: that finds what was damaged since it was
written. Then windows around the corners of tiles are computed again with tiles of another size, whose seams
lie elsewhere: that finds what was wrong when it was written.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tiler.block import SegmentJob
from tiler.choosing import tile_on_canvas
from tiler.geometry import Box, Shape, Span, tiles_of
from tiler.instances import bands
from tiler.journal import Journal, journal_path
from tiler.opening import Opened, open_all
from tiler.options import FREE, Options
from tiler.plans import Plan
from tiler.ports import Array, Sink
from tiler.resuming import unsound_blocks
from tiler.run import scaled
from tiler.task import Task, final_sink, instance_rows

TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 5e-3, "bfloat16": 2e-2}
STEP = {"uint8": 1.0, "float16": 1e-3}
"""What rounding to the output's type may add: one grey value, or the spacing of half precision below 1."""

STRIDES_AROUND = 2
SMALLEST_WINDOW = 32


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found.

    Parameters
    ----------
    blocks, recorded
        How many there are, and how many of them are journalled as finished.
    damaged
        Blocks whose voxels no longer give their checksum.
    windows
        How many were computed again.
    share
        Share of the output's voxels in them.
    tile, other_tile
        Of the run and of the check.
    worst, allowed
        Largest difference found, and the largest that the law allows.
    wrong
        Windows that differ by more.
    """

    blocks: int
    recorded: int
    damaged: tuple[str, ...]
    windows: int
    share: float
    tile: Shape
    other_tile: Shape
    worst: float
    allowed: float
    wrong: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return not self.damaged and not self.wrong and self.recorded == self.blocks


@dataclass(frozen=True, slots=True)
class _Compared:
    """One window: how far stored and recomputed values are apart, and the range of the latter."""

    box: Box
    worst: float
    low: float
    high: float


def verify(output: Path, source: Any, model: Any, trust: bool, windows: int, seed: int) -> CheckReport:
    """Check an output; source and model are those of the run unless they are given.

    Raises
    ------
    JournalError
        If there is no journal, or it is damaged.
    """
    journal = Journal.load(journal_path(output))
    header = journal.header
    plan = Plan.from_json(header["plan"])
    stored = {name: value for name, value in header["options"].items() if name not in FREE}
    again = {"border": plan.border, "kind": "probabilities", "tile": None, "block": None}
    if header["kind"] != "probabilities":
        again |= {"classes": "all", "dtype": None}
    options = Options(**{**stored, **again})
    opened = open_all(source or header["source"], model or header["model"], options, trust)
    task = _stored_task(opened, plan, output, header, stored)
    sink = final_sink(task)
    damaged = _damaged(journal, task, sink)
    compared = _compare_windows(task, journal, sink, windows, seed) if not damaged else []
    return _report(task, journal, damaged, compared)


def _stored_task(opened: Opened, plan: Plan, output: Path, header: Any, stored: Any) -> Task:
    """The task as it was run, for its sinks; its predictor gives the scores behind labels."""
    dtype = np.dtype(stored.get("dtype") or "uint32") if header["kind"] == "instances" else opened.instance_dtype
    return Task(plan, opened.source, opened.predictor, output, header["kind"], opened.statistics,
                int(stored.get("min_size", 0)), dtype, {})


def _damaged(journal: Journal, task: Task, sink: Sink) -> list[str]:
    if task.kind != "instances":
        return [f"block {i} at {task.plan.grid[i]}" for i in unsound_blocks(journal, task.plan, sink)]
    return [f"slice {index}" for index, record in sorted(journal.records("instances").items())
            if _slice_checksum(task, sink, index) != record["checksum"]]


def _slice_checksum(task: Task, sink: Sink, index: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for box in bands(task.plan.region.shape, instance_rows(task.plan), index):
        digest.update(np.ascontiguousarray(sink.read(box)).data)
    return digest.hexdigest()


def other_tile(plan: Plan) -> Shape:
    """A legal tile of another size, as near to two thirds of the core as there is."""
    cores = []
    for core, axis in zip(plan.footprint.core(plan.tile), plan.footprint.axes, strict=True):
        smaller = max(1, core * 2 // 3 // axis.stride) * axis.stride
        cores.append(smaller if smaller != core else core + axis.stride)
    if plan.footprint.flat:
        cores[0] = 1
    return tile_on_canvas(plan.footprint.covering(tuple(cores)), plan.canvas)


def _compare_windows(task: Task, journal: Journal, sink: Sink, windows: int, seed: int) -> list[_Compared]:
    predictor = task.predictor
    if task.statistics is not None:
        predictor = scaled(task, journal)
    plan = replace(task.plan, tile=other_tile(task.plan), footprint=predictor.footprint)
    random = np.random.default_rng(seed)
    done = sorted(journal.records("model"))
    found = []
    for index in random.permutation(done)[:windows]:
        box = _window_at_a_corner(task.plan, int(index), random)
        job = SegmentJob(replace(plan, region=box, block=box.shape), task.source, predictor, sink)
        found.append(_compare(task, sink, box, job.compute(0, job.read(0))))
    return found


def _window_at_a_corner(plan: Plan, index: int, random: np.random.Generator) -> Box:
    """A box around a corner of one of a block's tiles, where a wrong context shows first."""
    tiles = tiles_of(plan.grid[index], plan.tile, plan.footprint, plan.canvas)
    write = tiles[random.integers(len(tiles))].write
    spans = []
    for span, axis, whole in zip(write.spans, plan.footprint.axes, plan.region.spans, strict=True):
        around = max(SMALLEST_WINDOW, STRIDES_AROUND * axis.stride)
        corner = span.start if random.integers(2) else span.stop
        spans.append(Span(corner - around, corner + around).intersect(whole))
    if plan.footprint.flat:
        spans[0] = Span(write.start[0], write.start[0] + 1)
    return Box(tuple(spans))


def _compare(task: Task, sink: Sink, box: Box, values: Array) -> _Compared:
    stored = sink.read(box.back(task.plan.region.start))
    low, high = float(values.min()), float(values.max())
    if task.kind == "probabilities":
        difference = np.abs(stored.astype(np.float64) - values.astype(np.float64))
        return _Compared(box, float(difference.max()), low, high)
    return _Compared(box, _missed_by(stored, values, task), low, high)


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


def _report(task: Task, journal: Journal, damaged: list[str], compared: list[_Compared]) -> CheckReport:
    precision = str(task.plan.essence["model"].get("precision", "float32"))
    dtype = str(task.plan.essence["model"].get("dtype", "float32"))
    spread = max((c.high for c in compared), default=0.0) - min((c.low for c in compared), default=0.0)
    scale = 255.0 if dtype == "uint8" and task.kind == "probabilities" else spread
    allowed = TOLERANCE.get(precision, 1e-5) * scale
    if task.kind == "probabilities":
        allowed += STEP.get(dtype, 0.0)
    stage = "instances" if task.kind == "instances" else "model"
    blocks = task.plan.region.shape[0] if task.kind == "instances" else len(task.plan.grid)
    voxels = sum(c.box.voxels for c in compared)
    return CheckReport(
        blocks=blocks, recorded=len(journal.records(stage)), damaged=tuple(damaged), windows=len(compared),
        share=voxels / task.plan.region.voxels, tile=task.plan.tile, other_tile=other_tile(task.plan),
        worst=max((c.worst for c in compared), default=0.0), allowed=allowed,
        wrong=tuple(str(c.box) for c in compared if c.worst > allowed))
