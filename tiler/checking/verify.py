"""Check an output against its journal and its model: the work behind `tiler check`.

First, the stored data are compared with their records (`tiler.checking.stored`), which finds damage after writing.
Then windows around the corners of tiles are recomputed with tiles of another size, which have their seams at other
places (`tiler.checking.recompute`): this finds values that were wrong when they were written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tiler.activity import doing
from tiler.checking.recompute import Compared, Recomputation, other_tile
from tiler.checking.stored import Stored, read_all
from tiler.errors import JournalError, SinkError
from tiler.geometry import Shape
from tiler.jobs.seams import Seams
from tiler.opening import Opened, OpenedModel, open_all
from tiler.options import FREE, TABLE, Options
from tiler.planning.plan import Plan
from tiler.planning.resolve import essence_of
from tiler.ports import KINDS, Json
from tiler.running.journal import Journal
from tiler.running.output import Output, State
from tiler.running.output_state import check_same
from tiler.running.run_spec import RunSpec
from tiler.running.stage import Stage, output_stage
from tiler.running.stages import stages_of
from tiler.running.start import run_spec

TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "tf32": 5e-3, "float16": 5e-3, "bfloat16": 2e-2}
STEP = {"uint8": 1.0, "float16": 1e-3}
"""Error that rounding to the output's dtype may add: one grey value, or the spacing of half precision below 1."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Findings of a check.

    Parameters
    ----------
    blocks, recorded
        Number of blocks, and number of blocks that the journal records as finished.
    damaged
        Blocks that cannot be read, or whose voxels no longer match their checksum.
    faults
        Other faults: in coarser levels, metadata or lists of chunks.
    shape
        Voxels of the output along z, y and x.
    low, high, not_finite
        Range of the finite values, and number of NaN and infinite values.
    windows
        Number of windows that were recomputed.
    share
        Share of the output's voxels in these windows.
    tile, other_tile
        Tiles of the run and of the check.
    worst, allowed
        Largest difference found, and the largest difference allowed.
    wrong
        Windows that differ by more than that.
    seams
        Difference between a blended output and one with shifted windows; None for other outputs. A blended output
        is an approximation, so this difference does not make it unsound.
    """

    blocks: int
    recorded: int
    damaged: tuple[str, ...]
    faults: tuple[str, ...]
    shape: Shape
    low: float
    high: float
    not_finite: int
    windows: int
    share: float
    tile: Shape
    other_tile: Shape
    worst: float
    allowed: float
    wrong: tuple[str, ...]
    seams: Seams | None = None

    @property
    def sound(self) -> bool:
        return not (self.damaged or self.faults or self.wrong) and self.recorded == self.blocks


@dataclass(frozen=True, slots=True)
class Moved:
    """Present places of what a run read; None for those of the run."""

    source: Any = None
    model: Any = None
    mask: Any = None


def verify(output: Output, moved: Moved, trust: bool, windows: int, seed: int) -> CheckReport:
    """Check an output.

    Raises
    ------
    SinkError
        If there is no output, or its mask was an array in memory and is not given.
    JournalError
        If there is no journal, or it is damaged.
    PlanChangedError
        If source, model or mask are not those of the run.
    """
    state = output.state
    if state is State.NOTHING:
        raise SinkError(f"{output} does not exist: there is nothing to check")
    if not output.has_journal:
        raise JournalError(f"{output} has no journal ({output.journal_place}): only what tiler segment wrote can be "
                           "checked, as long as its journal lies beside it")
    journal = Journal.load(output.journal_place)
    header = journal.header
    plan = Plan.from_json(header["plan"])
    stored = _options(header, moved) | {"tile": None, "block": None, "border": plan.border, "table": None,
                                          "outlines": None}
    if plan.exact:
        stored["execution"] = plan.execution
    ports = header["source"] if moved.source is None else moved.source, _model(header, moved)
    as_run = open_all(*ports, Options(), trust, stored)
    _check_ports(plan, as_run, moved)
    scores = {} if KINDS[header["kind"]].ordered else _scores(as_run)
    scored = open_all(*ports, Options(), trust, {**stored, **scores})
    run = run_spec(as_run, plan, output)
    stages = stages_of(run)
    last = output_stage(stages)
    assert last.sink is not None
    doing("reading every block")
    stored_voxels = read_all(stages, journal, state is State.FINISHED)
    damaged = stored_voxels.damaged
    check = Recomputation(run, journal, last.sink, scored.predictor)
    doing("computing windows again")
    compared = [] if damaged else check.compare(windows, seed)
    report = _report(run, last, journal, stored_voxels, compared)
    return replace(report, seams=check.seams(seed) if windows and not damaged else None)


def _scores(as_run: Opened) -> dict[str, Any]:
    """Options that give the values behind labels and instances: the classes that were chosen, else all of them."""
    objects = dict.fromkeys(name for name, option in TABLE.items() if option.group == "Objects")
    cut = as_run.options.threshold is not None or (as_run.rules is not None and as_run.rules.threshold is not None)
    chosen = cut or as_run.options.classes is not None
    return {"kind": "probabilities", "dtype": None, **objects, **({} if chosen else {"classes": "all"})}


def _options(header: Json, moved: Moved) -> dict[str, Any]:
    """Options of the run that can change the result, with the mask where it is now."""
    stored = {name: value for name, value in header["options"].items() if name not in FREE}
    mask = stored.get("mask")
    if moved.mask is not None and mask is None:
        raise SinkError("the run had no mask: leave out `mask`")
    if moved.mask is None and mask is not None and mask.startswith("<"):
        raise SinkError(f"the mask of the run was an array in memory, {mask}, which is not stored: give it again "
                        "(`mask`)")
    return stored if moved.mask is None else {**stored, "mask": moved.mask}


def _model(header: Json, moved: Moved) -> Any:
    return moved.model.model if isinstance(moved.model, OpenedModel) else moved.model or header["model"]


def _check_ports(plan: Plan, opened: Opened, moved: Moved) -> None:
    """The footprint is left out, because the windows show whether it was right."""
    essence = essence_of(opened.source, opened.predictor)
    named = {name: essence[name] for name in ("source", "shape", "dtype", "model")}
    check_same(plan.essence, named, moved.source is not None)
    if opened.part is not None:
        check_same(plan.essence, {"part": opened.part.to_json()}, moved.mask is not None)


def _tolerance(plan: Plan) -> float:
    return TOLERANCE.get(str(plan.essence["model"].get("precision", "float32")), TOLERANCE["float32"])


def _report(run: RunSpec, last: Stage, journal: Journal, found: Stored, compared: list[Compared]) -> CheckReport:
    allowed, values = _tolerance(run.plan), found.values
    if run.result.kind.ordered:
        allowed = allowed * values.spread + STEP.get(run.predictor.dtype.name, 0.0)
    return CheckReport(
        blocks=len(last.grid),
        recorded=len(journal.records(last.name)),
        damaged=found.damaged,
        faults=found.faults,
        shape=run.plan.region.shape,
        low=values.low if values.high >= values.low else 0.0,
        high=values.high if values.high >= values.low else 0.0,
        not_finite=values.not_finite,
        windows=len(compared),
        share=sum(window.box.voxels for window in compared) / run.plan.region.voxels,
        tile=run.plan.tile,
        other_tile=other_tile(run.plan),
        worst=max((window.worst for window in compared), default=0.0),
        allowed=allowed,
        wrong=tuple(str(window.box) for window in compared if window.worst > allowed),
    )
