"""Is an output what its journal and its model say? The work behind `tiler check`.

First every block is read and compared with its journalled checksum: that finds what was damaged since it was
written. Then windows around the corners of tiles are computed again with tiles of another size, whose seams
lie elsewhere: that finds what was wrong when it was written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tiler.blending import segment_job
from tiler.block import SegmentJob
from tiler.choosing import least_tile, tile_on_canvas
from tiler.geometry import Box, Shape, Span
from tiler.instances import bands
from tiler.journal import Journal, journal_path
from tiler.opening import Opened, open_all
from tiler.options import FREE, Options
from tiler.planning import essence_of
from tiler.plans import Plan
from tiler.ports import Array, Partial, Predictor, Sink
from tiler.reduction import stage_name, unpacked
from tiler.resuming import check_same
from tiler.run import known_from, reduction_jobs, scaled
from tiler.seams import Seams, seams_of
from tiler.stores.address import Place
from tiler.sweep import is_global
from tiler.task import Task, final_sink, instance_rows

TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 5e-3, "bfloat16": 2e-2}
STEP = {"uint8": 1.0, "float16": 1e-3}
"""What rounding to the output's type may add: one grey value, or the spacing of half precision below 1."""

PASS_BLOCKS = 2
"""Of each pass over whole inputs; they are larger than windows."""

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
    passes
        Blocks of the passes over whole inputs that were computed again, where the network has global layers.
    passes_worst
        Largest difference found in them, as a share of the largest value; it counts as wrong above the tolerance.
    seams
        Of a blended output: how far it is from one whose windows lie elsewhere. It is an approximation, and sound
        all the same.
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
    passes: int = 0
    passes_worst: float = 0.0
    seams: Seams | None = None

    @property
    def sound(self) -> bool:
        return not self.damaged and not self.wrong and self.recorded == self.blocks


@dataclass(frozen=True, slots=True)
class _Compared:
    """One window, and how far stored and recomputed values are apart at worst."""

    box: Box
    worst: float


def verify(output: Place, source: Any, model: Any, trust: bool, windows: int, seed: int) -> CheckReport:
    """Check an output; source and model are those of the run unless they are given.

    Raises
    ------
    JournalError
        If there is no journal, or it is damaged.
    PlanChangedError
        If source or model are not those of the run.
    """
    journal = Journal.load(journal_path(output))
    header = journal.header
    plan = Plan.from_json(header["plan"])
    stored = {name: value for name, value in header["options"].items() if name not in FREE}
    stored |= {"tile": None, "block": None, "border": plan.border}
    ports = source or header["source"], model or header["model"]
    as_run = open_all(*ports, Options(**stored), trust)
    _check_ports(plan, as_run, moved=source is not None)
    scores = {} if header["kind"] == "probabilities" else {"kind": "probabilities", "classes": "all", "dtype": None}
    scored = open_all(*ports, Options(**{**stored, **scores}), trust)
    task = Task(plan, as_run.source, as_run.predictor, output, header["kind"], as_run.statistics,
                int(stored.get("min_size", 0)), as_run.instance_dtype, str(as_run.options.ngff), {})
    sink = final_sink(task)
    damaged, spread = _read_all(journal, task, sink)
    check = _Check(task, journal, sink, scored.predictor)
    compared = [] if damaged else check.compare(windows, seed)
    shares = [] if damaged else list(check.passes_again(min(windows, PASS_BLOCKS), seed))
    report = _report(task, journal, damaged, compared, spread)
    wrong = [where for where, share in shares if share > _tolerance(plan)]
    return replace(report, wrong=(*report.wrong, *wrong), passes=len(shares),
                   passes_worst=max((share for _, share in shares), default=0.0),
                   seams=check.seams(seed) if windows and not damaged else None)


def _check_ports(plan: Plan, opened: Opened, moved: bool) -> None:
    """The footprint is left out: whether it was right is what the windows show."""
    essence = essence_of(opened.source, opened.predictor)
    check_same(plan.essence, {name: essence[name] for name in ("source", "shape", "dtype", "model")}, moved)


def _read_all(journal: Journal, task: Task, sink: Sink) -> tuple[list[str], float]:
    """Blocks that do not give their checksum, and the range of all values that do."""
    stage = "instances" if task.kind == "instances" else "model"
    damaged, low, high = [], np.inf, -np.inf
    for index, record in sorted(journal.records(stage).items()):
        digest = hashlib.blake2b(digest_size=16)
        for box in _boxes(task, index):
            data = np.ascontiguousarray(sink.read(box))
            digest.update(data.data)
            low, high = min(low, float(data.min())), max(high, float(data.max()))
        if digest.hexdigest() != record["checksum"]:
            damaged.append(f"slice {index}" if stage == "instances" else f"block {index} at {task.plan.grid[index]}")
    return damaged, max(0.0, high - low)


def _boxes(task: Task, index: int) -> Sequence[Box]:
    """Of what was written under one record, in the output's coordinates."""
    if task.kind == "instances":
        return bands(task.plan.region.shape, instance_rows(task.plan), index)
    return [task.plan.grid[index].back(task.plan.region.start)]


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
class _Check:
    """Windows of an output computed again."""

    task: Task
    journal: Journal
    sink: Sink
    predictor: Predictor

    def compare(self, windows: int, seed: int) -> list[_Compared]:
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
        if not is_global(predictor) or not self.journal.records("model"):
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

    def _compare(self, box: Box, values: Array) -> _Compared:
        stored = self.sink.read(box.back(self.task.plan.region.start))
        if self.task.kind == "probabilities":
            return _Compared(box, float(np.abs(stored.astype(np.float64) - values.astype(np.float64)).max()))
        return _Compared(box, _missed_by(stored, values, self.task))


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


def _tolerance(plan: Plan) -> float:
    return TOLERANCE.get(str(plan.essence["model"].get("precision", "float32")), TOLERANCE["float32"])


def _report(task: Task, journal: Journal, damaged: list[str], compared: list[_Compared],
            spread: float) -> CheckReport:
    allowed = _tolerance(task.plan)
    if task.kind == "probabilities":
        allowed = allowed * spread + STEP.get(task.predictor.dtype.name, 0.0)
    instances = task.kind == "instances"
    return CheckReport(
        blocks=task.plan.region.shape[0] if instances else len(task.plan.grid),
        recorded=len(journal.records("instances" if instances else "model")),
        damaged=tuple(damaged),
        windows=len(compared),
        share=sum(window.box.voxels for window in compared) / task.plan.region.voxels,
        tile=task.plan.tile,
        other_tile=other_tile(task.plan, task.predictor),
        worst=max((window.worst for window in compared), default=0.0),
        allowed=allowed,
        wrong=tuple(str(window.box) for window in compared if window.worst > allowed),
    )
