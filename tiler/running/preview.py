"""A preview: what a run would give in a small window, and how long the whole would take."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np

from tiler.errors import PlanError
from tiler.executors.serial import Serial
from tiler.geometry import Box, Grid, Shape, Span
from tiler.objects.asked import rules_of
from tiler.objects.rules import Rules
from tiler.opening import Opened, OpenedModel, open_all
from tiler.opening.models import is_predictor
from tiler.options import TABLE, Options
from tiler.ports import Array, Listener, OutputSpec
from tiler.ports.units import nanometres
from tiler.report.preview import Preview
from tiler.running.destination import InMemory
from tiler.running.object_stages import ObjectStages
from tiler.running.output_spec import region_calibration
from tiler.running.perform import discard_scratch, perform
from tiler.running.progress import Memo
from tiler.running.start import Request, executor_of, run_spec
from tiler.sinks import open_sink

SIDE = 512
"""Largest side of the window along y and x."""
LEFT_OUT = ("kind", "dtype", "roi", "executor", "scheduler", "tile", "block", "tune", "post", "post_check")
"""Options of the run that a preview sets itself, besides those of objects and of stored outputs."""


def preview_of(request: Request, listener: Listener, stop: threading.Event) -> Preview:
    """Segment the window; nothing is written.

    Raises
    ------
    TilerError
        In one line.
    """
    opened = _opened(request)
    if request.options.get("post") is not None:
        listener.warn("the preview is of the result before `post`")
    whole = opened.plan()
    window = replace(opened, region=window_of(whole.region))
    plan = window.plan()
    begun = time.monotonic()
    run = run_spec(window, plan, InMemory())
    try:
        sink = perform(run, Memo(), executor_of(plan, window), listener, stop)
    finally:
        discard_scratch(run)
    seconds = time.monotonic() - begun
    share = whole.estimate.flops / plan.estimate.flops if plan.estimate.flops else whole.region.voxels / \
        plan.region.voxels
    values = sink.read(Box.of_shape(plan.region.shape))
    known = nanometres(opened.source.calibration)
    return Preview(plan.region, opened.source.read(plan.region)[:, 0], values[:, 0], opened.predictor.classes,
                   _objects(values, _rules(request.options, opened), opened, plan.region), seconds, seconds * share,
                   None if known is None else known[1:])


def window_of(region: Box) -> Box:
    """The window: the middle section of a region, and the middle of that."""
    return Box(tuple(_middle(span, side) for span, side in zip(region.spans, (1, SIDE, SIDE), strict=True)))


def _middle(span: Span, side: int) -> Span:
    start = max(span.start, (span.start + span.stop - side) // 2)
    return Span(start, min(span.stop, start + side))


def _opened(request: Request) -> Opened:
    """The ports, for probabilities of the region that would be segmented."""
    model, options = request.model, request.options
    if isinstance(model, OpenedModel):
        model, options = model.model, options.over(model.options.given())
    dropped = {name for name, option in TABLE.items()
               if option.group == "Objects" or option.of_storage} | set(LEFT_OUT) - {"roi"}
    kept = options.without(dropped)
    if not is_predictor(model):
        kept = kept.over({"kind": "probabilities"})
    return open_all(request.source, model, kept.over({"tune": False}), request.trust)


def _rules(options: Options, opened: Opened) -> Rules:
    """The rules of objects that were asked for; they are made above 0.5 if no threshold is given."""
    objects = {name: value for name, value in options.given().items() if TABLE[name].group == "Objects"}
    rules = rules_of(Options.of({**objects, "kind": "instances"}).resolved(), opened.source, opened.predictor)
    single = len(opened.predictor.classes) == 1 and opened.predictor.capabilities.meaning == "probabilities"
    if not single and rules.threshold is not None:
        raise PlanError("instances above a threshold are made of one class: choose one", option="classes")
    return replace(rules, threshold=0.5) if single and rules.threshold is None else rules


def _objects(values: Array, rules: Rules, opened: Opened, region: Box) -> Array:
    """``(y, x)``: objects by the stages of a run, on the values of the window."""
    if len(values) > 1:
        values = values.argmax(0).astype(np.uint8)[None]
    if values.dtype == np.uint8 and rules.threshold is not None:
        values = values / np.float32(255)
    shape: Shape = region.shape
    spec = OutputSpec(shape=(1, shape[0], shape[1], shape[2]), dtype=values.dtype, classes=("value",),
                      calibration=region_calibration(opened.source, region), channel_axis=False, block=shape,
                      chunk=shape)
    network, output = (open_sink(None, each) for each in (spec, replace(spec, dtype=np.dtype(np.uint32))))
    grid = Grid(Box.of_shape(shape), shape)
    stages = ObjectStages(rules, grid, InMemory(), replace(spec, dtype=np.dtype(np.uint32)), opened.part, region.start)
    found: dict[str, Any] = {}
    listed = stages.of(network, output)
    for sink in {id(sink): sink for stage in listed if (sink := stage.sink) is not None}.values():
        sink.create()
    network.create()
    network.write(grid.region, values)
    for stage in listed:
        done = Serial().run(stage.job(found, {}), stage.order, threading.Event())
        found[stage.name] = stage.merge(found, {each.index: each.record for each in done})
    ids: Array = output.read(grid.region)[0, 0]
    return ids
