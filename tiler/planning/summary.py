"""A plan as text: a sentence, its figures in rows, and hints."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiler.planning.plan import Estimate, Plan

TILING = {
    "blend": "overlapping windows, blended: an APPROXIMATION, whose seams are measured at the end",
    "whole": "every input in one piece",
}

SHORT = 5e12
"""Operations of a run that takes less than a minute on two processor cores or more."""

WASTE = 0.5
"""Share of the operations that are spent on context from which a hint is given."""


def sentence_of(plan: Plan) -> str:
    """One sentence that says what will happen: ``8 sections of 512 x 512, 1 tile each, under a minute, ...``."""
    depth, height, width = plan.region.shape
    flat = plan.footprint.flat
    what = f"{depth} section{'s' * (depth > 1)} of {height} x {width}" if flat else \
        f"{depth} x {height} x {width} voxels"
    disk = plan.estimate.disk_bytes + plan.estimate.temporary_bytes
    return (f"{what}, {_tiles(plan, depth if flat else 1)}, {_time(plan)}, {size(plan.estimate.peak_bytes)} of memory, "
            f"{size(disk)} of disk")


def _tiles(plan: Plan, inputs: int) -> str:
    tiles = plan.estimate.tiles
    each = tiles // inputs if tiles % inputs == 0 else 0
    counted = f"{each or tiles} tile{'s' * ((each or tiles) > 1)}"
    return f"{counted} each" if each and inputs > 1 else counted


def _time(plan: Plan) -> str:
    seconds = plan.estimate.seconds
    if seconds is not None:
        return f"about {duration(seconds)}"
    return "probably under a minute" if plan.estimate.flops < SHORT else "probably a few minutes"


def hints_of(plan: Plan) -> list[str]:
    """Advice on options that would help this run; each option in backticks."""
    if plan.estimate.redundant <= WASTE:
        return []
    return [f"{plan.estimate.redundant:.0%} of the operations only compute the context of tiles: larger tiles need "
            "less, with more `memory`, or with a larger `tile` or `block`"]


def rows_of(plan: Plan) -> dict[str, str]:
    """Rows of the table that shows a plan, by name."""
    estimate = plan.estimate
    while_made = estimate.disk_bytes + estimate.temporary_bytes
    rows = {
        "region (z, y, x)": str(plan.region),
        "tile, core": f"{by(plan.tile)}, {by(plan.footprint.core(plan.tile))}",
        "context low, high": f"{by(plan.footprint.low)}, {by(plan.footprint.high)}",
        "stride": by(plan.footprint.stride),
        "border": plan.border,
        "block, chunk": f"{by(plan.block)}, {by(plan.chunk)}",
        "files": _files(plan),
        "blocks, tiles": f"{estimate.blocks}, {estimate.tiles}{_skipped(estimate)}",
        "batch, workers": f"{plan.batch}, {plan.workers}",
        "to read, to decode": f"{size(estimate.bytes_read)}, {size(estimate.bytes_decoded)}",
        "decoding": f"each chunk {estimate.decodes:.2f} times, {size(plan.cache)} of them kept",
        "to write": size(estimate.bytes_written),
        "disk, until it is whole": f"{size(estimate.disk_bytes)}, {size(while_made)} before compression",
        "floating-point operations": f"{estimate.flops:.3g} ({estimate.redundant:.1%} for context)",
        "expected time": "not measured" if estimate.seconds is None else duration(estimate.seconds),
        "peak memory": f"{size(estimate.peak_bytes)} of {size(plan.memory)}",
        "fingerprint": plan.fingerprint[:16],
    }
    if plan.table:
        rows["table of objects"] = plan.table
    if plan.outlines:
        rows["outlines"] = plan.outlines
    if factor := plan.essence.get("model", {}).get("rescale"):
        rows["rescaled by"] = f"{factor} (z, y, x), and back"
    if plan.tiling in TILING:
        rows["tiling"] = TILING[plan.tiling]
    if plan.staged or plan.why:
        rows["execution"] = (staged(plan) if plan.staged else "in tiles") + (f": {plan.why}" if plan.why else "")
    if not estimate.exact:
        rows["note"] = "operations and memory were extrapolated from two small tiles"
    return rows


def _files(plan: Plan) -> str:
    """Chunks of a block, and the price of those that were chosen."""
    count = math.prod(-(-side // part) for side, part in zip(plan.block, plan.shard or plan.chunk, strict=True))
    what = f"shards of {by(plan.shard)}" if plan.shard else "chunks"
    cost = plan.estimate.chunk_cost
    more = f"; {cost:.1%} more work than with blocks of tiler's choice" if cost else ""
    return f"{count} {what} a block, each written once{more}"


def _skipped(estimate: Estimate) -> str:
    return "" if estimate.skipped is None else f"; the mask leaves out {estimate.skipped} of the blocks"


def as_text(rows: dict[str, str]) -> str:
    """Rows as two columns."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def as_html(rows: dict[str, str]) -> str:
    """Rows as a table, for notebooks."""
    lines = "".join(f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(value)}"
                    "</td></tr>" for name, value in rows.items())
    return f"<table>{lines}</table>"


def by(shape: tuple[int, ...]) -> str:
    """``1x572x572``."""
    return "x".join(map(str, shape))


def duration(seconds: float) -> str:
    """Duration in at most two units, the larger first: ``2 h 5 min``."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def size(count: int) -> str:
    """Bytes in the largest unit that gives a number above one: ``1.5 GiB``."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.1f} {unit}"
    return f"{count} B"


def staged(plan: Plan) -> str:
    """How a network runs in stages."""
    estimate, scratch = plan.estimate, plan.scratch
    needs = f", {estimate.statistics} statistics of the whole input" if estimate.statistics else ""
    extra = 1 / (1 - estimate.redundant) if estimate.redundant < 1 else 1.0
    says = (f"in {estimate.stages} stages, exactly as the whole input in one pass{needs}; {extra:.2f} times the work "
            "of a plain pass")
    if scratch is None:
        return f"{says}; some tensors of the network are kept in memory"
    if not scratch.on_disk:
        return f"{says}; {scratch.tensors} tensors stay in memory, {size(scratch.bytes)} at most at a time"
    return (f"{says}; {scratch.tensors} tensors of an input, too large for memory or in chosen blocks, are stored "
            f"on disk, one stage each, {size(scratch.bytes)} at most at a time")
