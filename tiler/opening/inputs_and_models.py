"""Open the source and the predictor of one segmentation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tiler.activity import doing
from tiler.errors import PlanError
from tiler.geometry import Box
from tiler.jobs.masked import Part, count_skipped, part_of
from tiler.jobs.own_step import Step, depends, step_of
from tiler.jobs.own_step_jobs import tried
from tiler.jobs.slice_scaling import ScaledSlices, needs_slices
from tiler.jobs.statistics import check_countable
from tiler.machine import available_memory
from tiler.objects.asked import check_rules, rules_of, threshold_of
from tiler.objects.roi_files import check_rois
from tiler.objects.rules import Rules
from tiler.objects.table_files import check_format
from tiler.opening.models import OpenedModel, fixed_by, is_predictor, predictor_of, refuse_model_options
from tiler.opening.regions import located
from tiler.options import AUTO, Options, ResolvedOptions, parse_rule
from tiler.planning.execution import chosen
from tiler.planning.plan import Plan, Settings
from tiler.planning.resolve import resolve
from tiler.ports import KINDS, Json, Predictor, Source
from tiler.sources import open_source
from tiler.sources.around import grey_of, inverted
from tiler.sources.volume import VolumeSource
from tiler.stores.address import names_place


@dataclass(frozen=True, slots=True)
class Opened:
    """Source, predictor and options of a segmentation."""

    options: ResolvedOptions
    source: Source
    predictor: Predictor
    region: Box | None
    part: Part | None = None
    """The part of the volume to segment; None for all of it."""
    step: Step | None = None
    """The user's step on the result; None for none."""
    why: str = ""
    """Why the network runs in tiles or in stages."""
    unknown: frozenset[str] = frozenset()
    """Options whose values are unknown because the caller opened the predictor."""

    @property
    def statistics(self) -> str | None:
        """Rule of the first pass over the volume; None if no pass is needed."""
        rule = self.options.normalise
        return str(rule) if rule.measured else None

    @property
    def kind(self) -> str:
        return self.options.kind

    @property
    def instance_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.options.dtype if KINDS[self.kind].numbered else "uint32")

    @property
    def rules(self) -> Rules | None:
        """Rules for making objects; None if the output has no objects."""
        if not KINDS[self.kind].numbered:
            return None
        return rules_of(self.options, self.source, self.predictor)

    def plan(self) -> Plan:
        """Plan the run: tiles, blocks, memory and estimates."""
        rules, extra, split = self.rules, _extra(self.options, self.predictor), 0
        if rules is not None:
            check_rules(rules, self.source, self.predictor)
            extra = {**extra, "instance_dtype": self.options.dtype, "objects": rules.to_json()}
            split = rules.memory(self.source.shape[1:] if self.region is None else self.region.shape)
        if self.step is not None:
            extra = {**extra, "post": self.step.identity}
        if self.part is not None:
            extra = {**extra, "part": self.part.to_json()}
        plan = resolve(_settings(self.options, self.region), self.source, self.predictor, extra,
                       tune=self.options.tune, split=split)
        if self.options.outlines is not None:
            check_rois(self.options.outlines, plan.region.shape)
        if self.part is not None:
            plan = plan.with_skipped(count_skipped(self.part, plan.grid))
        return replace(plan, why=self.why, table=str(self.options.table or ""),
                       outlines=str(self.options.outlines or ""))

    def to_json(self) -> dict[str, Any]:
        """The known options, with which the same source and predictor can be opened again."""
        return {name: value for name, value in self.options.to_json().items() if name not in self.unknown}


def open_all(source: Any, model: Any, options: Options, trust: bool, stored: Json | None = None) -> Opened:
    """Open the ports.

    Parameters
    ----------
    source, model, trust
        As for `tiler.segment`.
    options
        Options as the user gave them.
    stored
        Options of the run to resume; given options take precedence.

    Raises
    ------
    TilerError
        If the input, the model or an option is not valid; the message is one line.
    """
    refuse_model_options(options, model)
    known = {name: value for name, value in (stored or {}).items() if name not in fixed_by(model)}
    if isinstance(model, OpenedModel):
        known |= model.options.given()
    elif is_predictor(model):
        known = {"kind": model.capabilities.meaning, **known}
    resolved = options.over(known).resolved()
    if resolved.table is not None:
        check_format(resolved.table, "table")
    doing(f"reading {source if names_place(source) else type(source).__name__}")
    volume = open_source(source, axes=resolved.axes, channel=resolved.channel, missing=resolved.missing, trust=trust,
                         time=None if resolved.roi is None else resolved.roi.time)
    predictor = predictor_of(model, resolved, trust, volume)
    _check_time(volume, predictor)
    box = None if resolved.roi is None else located(resolved.roi, volume)
    if box is not None and isinstance(volume, VolumeSource):
        volume.check_region(box, resolved.missing)
    if predictor.in_channels == 1 and resolved.channel is None:
        volume = grey_of(volume)  # last, since it has neither levels nor chunks of its own
    unknown = fixed_by(model) if is_predictor(model) else frozenset[str]()
    if is_predictor(model) and not KINDS[resolved.kind].numbered:
        unknown |= {"dtype"}
    part = part_of(resolved, volume, trust)  # a background value is one of the file's own grey values
    seen = _inverted(resolved, volume, predictor) if resolved.invert else volume
    predictor, why = chosen(_settings(resolved, box), seen, predictor, resolved.execution)
    opened = Opened(resolved, seen, predictor, box, part, why=why, unknown=unknown)
    return _with_step(_with_scaling(opened))


def _inverted(options: ResolvedOptions, volume: Source, predictor: Predictor) -> Source:
    """The volume with inverted grey values.

    Raises
    ------
    PlanError
        If its values have no bounds within which they can be inverted, and are not measured afterwards either.
    """
    measured = options.normalise.measured or predictor.capabilities.own_scaling is not None
    if volume.dtype.kind == "f" and not measured:
        raise PlanError(f"{volume.name} holds {volume.dtype}, whose values have no bounds within which they could be "
                        "inverted: add `normalise=volume`, for which their sign can be changed", option="invert")
    return inverted(volume)


def _with_scaling(opened: Opened) -> Opened:
    """Add the statistics for the model's own scaling, if it has one and the user did not choose another."""
    own = opened.predictor.capabilities.own_scaling
    if own is not None:
        if needs_slices(opened.source, own.measures, opened.predictor.footprint.flat):
            slices = ScaledSlices(opened.source, own.measures, opened.options.nan)
            return replace(opened, source=slices, predictor=own.done)
        opened = replace(opened, options=replace(opened.options, normalise=parse_rule(own.measures.rule)))
    elif opened.options.normalise.values and opened.options.normalise.measured:
        _refuse_percentiles(opened)
    check_countable(opened.options.normalise, opened.source.dtype)
    return opened


def _refuse_percentiles(opened: Opened) -> None:
    """Refuse to map percentiles to 0 and 1 where a network expects a mean of 0 and a deviation of 1."""
    if opened.predictor.capabilities.standardised:
        raise PlanError(f"{opened.options.normalise} maps percentiles to 0 and 1, the weights were trained on grey "
                        "values less their mean, divided by their deviation: use `normalise=volume`",
                        option="normalise")


def _with_step(opened: Opened) -> Opened:
    """Add the user's step, which is tried on noise first.

    Raises
    ------
    PlanError
        If its result depends on the blocks, and that was not accepted.
    """
    options = opened.options
    if options.post is None:
        return opened
    numbered, volume = KINDS[opened.kind].numbered, opened.source.shape[1:]
    dtype = opened.instance_dtype if numbered else opened.predictor.dtype
    before = (opened.kind, np.dtype(dtype), 1 if numbered else len(opened.predictor.classes))
    step = step_of(options.post, before[1], before[2], before[0])
    region = volume if opened.region is None else opened.region.shape
    differs = tried(step, before, region, volume)
    if differs and options.post_check == "refuse":
        raise depends(step, differs)
    return replace(opened, step=step)


def _settings(options: ResolvedOptions, region: Box | None) -> Settings:
    return Settings(
        tile=None if options.tile is AUTO else options.tile, block=None if options.block is AUTO else options.block,
        batch=None if options.batch is AUTO else options.batch, memory=_memory(options), workers=options.workers,
        readers=None if options.executor == "dask" else options.workers, region=region,
        chunk=options.chunk, shard=options.shard, border=options.border,
        nan=options.nan, scratch_size=options.scratch_size)


def _memory(options: ResolvedOptions) -> int | None:
    """Memory for one process; None lets the planner decide."""
    memory = None if options.memory is AUTO else options.memory
    if options.processes == 1:
        return memory
    return (memory or available_memory() // 2) // options.processes


def _extra(options: ResolvedOptions, predictor: Predictor) -> Json:
    """Settings of the steps after the model that can change the result."""
    cut = {"threshold": threshold_of(options, predictor)} if options.kind == "mask" else {}
    inverted = {"invert": True} if options.invert else {}
    return {"kind": options.kind, "normalise": str(options.normalise), **options.storage, **cut, **inverted}


def _check_time(source: Source, predictor: Predictor) -> None:
    axes, sizes = source.calibration.axes, source.calibration.sizes
    if "t" in axes and sizes[axes.index("t")] > 1 and not predictor.footprint.flat:
        raise PlanError(f"{source.name} has {sizes[axes.index('t')]} time points, the network takes volumes: "
                        "choose one with `roi=t=N`")
