"""Plans and reports as tables for people."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from tiler.machine import free_disk
from tiler.planning.plan import Plan
from tiler.stores.address import Place

TILING = {
    "blend": "overlapping windows, blended: an APPROXIMATION, whose seams are measured at the end",
    "whole": "every input in one piece",
}


def plan_table(source: str, output: Place, plan: Plan) -> None:
    """Print a plan; unlike progress this is the result, so it goes to stdout."""
    estimate = plan.estimate
    while_made = estimate.disk_bytes + estimate.temporary_bytes
    rows = {
        "input": source,
        "output": str(output),
        "region (z, y, x)": str(plan.region),
        "tile, core": f"{by(plan.tile)}, {by(plan.footprint.core(plan.tile))}",
        "context low, high": f"{by(plan.footprint.low)}, {by(plan.footprint.high)}",
        "stride": by(plan.footprint.stride),
        "border": plan.border,
        "block, chunk": f"{by(plan.block)}, {by(plan.chunk)}",
        "blocks, tiles": f"{estimate.blocks}, {estimate.tiles}",
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
    free = room_for(output)
    if free is not None:
        rows["disk that is free"] = size(free)
    if estimate.passes > 1:
        rows["passes"] = f"{estimate.passes}; the first ones find what global layers need of every whole input"
    if plan.tiling != "exact":
        rows["tiling"] = TILING[plan.tiling]
    if not estimate.exact:
        rows["note"] = "operations and memory were extrapolated from two small tiles"
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows.items():
        table.add_row(name, value)
    Console(soft_wrap=True, highlight=False).print(table)


def room_for(output: Place) -> int | None:
    """Bytes that are free where an output goes; None on an object store."""
    return free_disk(output) if isinstance(output, Path) else None


def by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def duration(seconds: float) -> str:
    """Of two units, the largest first."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def size(count: int) -> str:
    """Bytes in the largest unit that leaves a number above one."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.1f} {unit}"
    return f"{count} B"
