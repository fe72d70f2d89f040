"""Specification of the sinks of a run: shape, dtype, chunks, axes and physical position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

from tiler.geometry import Box
from tiler.ports import KINDS, Calibration, OutputSpec, Source
from tiler.running.run_spec import RunSpec


def network_spec(run: RunSpec, kind: str) -> OutputSpec:
    """Specification for the blocks of the network's last pass, for this kind of result."""
    plan, predictor = run.plan, run.predictor
    channels = len(predictor.classes)
    depth, height, width = plan.region.shape
    return OutputSpec(
        shape=(channels, depth, height, width),
        dtype=predictor.dtype,
        calibration=region_calibration(run.source, plan.region),
        classes=predictor.classes,
        channel_axis=channels > 1,
        block=plan.block,
        chunk=plan.chunk,
        shard=plan.shard,
        kind=kind,
        ngff=run.storage.get("ngff", "0.5"),
        storage=run.storage,
        title=title_of(run.source.name),
        values=len(predictor.identity.get("names", ())) if KINDS[kind].classes == "values" else 0,
    )


def title_of(name: str) -> str:
    """A name without folders and suffixes: ``stack`` of ``data/stack.ome.tif``."""
    return PurePath(name.rstrip("/")).name.split(".")[0] or name


def region_calibration(source: Source, region: Box) -> Calibration:
    """Axes and offset of a region; folded axes are unfolded if the region holds all of them."""
    whole, folded = source.calibration, source.shape[1]
    if len(whole.axes) == 2:
        return _shifted(whole, (*region.shape[1:],), (*region.start[1:],))
    if len(whole.axes) == 3:
        return _shifted(whole, region.shape, region.start)
    if region.shape[0] == folded:
        lead = whole.sizes[:-2]
        return _shifted(whole, (*lead, *region.shape[1:]), (*(0,) * len(lead), *region.start[1:]))
    flat = Calibration(
        ("z", *whole.axes[-2:]),
        (folded, *whole.sizes[-2:]),
        (1.0, *whole.scale[-2:]),
        (None, *whole.units[-2:]),
        (0.0, *whole.offset[-2:]),
    )
    return _shifted(flat, region.shape, region.start)


def _shifted(whole: Calibration, sizes: tuple[int, ...], start: tuple[int, ...]) -> Calibration:
    offset = tuple(o + s * scale for o, s, scale in zip(whole.offset, start, whole.scale, strict=True))
    return replace(whole, sizes=sizes, offset=offset)
