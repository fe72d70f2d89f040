"""Settings that the user chose and the plan made from them, as plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from html import escape
from typing import Any, Literal

from tiler.errors import PlanError, spelled_for_python
from tiler.geometry import Box, Footprint, Grid, Shape
from tiler.planning.block_order import in_strips
from tiler.planning.summary import as_html, as_text, hints_of, rows_of, sentence_of
from tiler.ports import Border, Execution, Json, Room, Tiling

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings that the user chose; None lets the planner decide.

    Parameters
    ----------
    tile
        ``(z, y, x)`` of the model's input, or its last axes, or one number for all axes that have context.
    block
        ``(z, y, x)`` of one task and one write, or its last axes.
    batch
        Tiles handed to the model at once.
    memory
        Bytes that the run may take; None for half of what is available.
    workers
        Threads that read ahead and write behind; processes of dask.
    readers
        Threads of one process that read ahead, and as many that write behind.
    region
        Box of the volume to segment; None for all of it.
    chunk, shard
        Chunks and shards of the output, as `tile`; "none" forbids shards.
    border
        How voxels beyond the volume are filled; None for the model's own border.
    nan
        "refuse", or "zero" to take NaN and infinity as 0.
    scratch_size
        Bytes that stored tensors may take on disk; None for no limit but that of the disk.
    """

    tile: Shape | None = None
    block: Shape | None = None
    batch: int | None = None
    memory: int | None = None
    workers: int | None = None
    readers: int | None = None
    region: Box | None = None
    chunk: Shape | None = None
    shard: Shape | Literal["none"] | None = None
    border: Border | None = None
    nan: str = "refuse"
    scratch_size: int | None = None


@dataclass(frozen=True, slots=True)
class Scratch:
    """Stored tensors of a network that runs in stages, for one input of it.

    Parameters
    ----------
    tensors
        Number of tensors, in all orientations of an average.
    bytes
        Most bytes that they take at the same time.
    voxels
        Largest number of voxels of their blocks.
    on_disk
        Whether they are stored on disk, one stage of the run each; else they stay in memory.
    """

    tensors: int
    bytes: int
    voxels: int
    on_disk: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted work, memory and disk space of a plan.

    Parameters
    ----------
    blocks, tiles
        Number of each.
    bytes_read, bytes_decoded, bytes_written
        Sizes of the uncompressed voxels. Context that neighbouring blocks share is counted every time it is read.
        Decoded bytes count whole chunks; a chunk that stays in memory counts once.
    flops
        Floating-point operations of all forward passes.
    redundant
        Share of those operations that a single pass over the whole region would not need.
    peak_bytes
        Peak memory in bytes, including the memory that the process used when planning began.
    exact
        Whether FLOPs and memory come from a trace of the network, not from measuring small tiles.
    decodes
        Mean number of times that a chunk is decoded, if one process visits all blocks.
    stages, statistics
        Number of tensors that are made one after another, and of statistics of the whole input; 0 in tiles.
    seconds
        Seconds that one process needs for all passes of the network; None if its speed was not measured.
    skipped
        Number of blocks that a mask leaves out, with their operations and seconds; None if they were not counted.
    disk_bytes, temporary_bytes
        Disk space in bytes, before compression: of the output with its pyramid levels, and of the temporary files
        beside it until it is complete; 0 if no output was named.
    chunk_cost
        Share by which chosen chunks make the run dearer: more tiles and more context for the same tile.
    """

    blocks: int
    tiles: int
    bytes_read: int
    bytes_decoded: int
    bytes_written: int
    flops: float
    redundant: float
    peak_bytes: int
    exact: bool
    decodes: float = 1.0
    stages: int = 0
    statistics: int = 0
    seconds: float | None = None
    skipped: int | None = None
    disk_bytes: int = 0
    temporary_bytes: int = 0
    chunk_cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run will proceed: frozen, converts to and from JSON; ``print`` shows it as a table.

    ``essence`` holds whatever can change the result, `fingerprint` is its hash. Batch, workers, memory, the order of
    the blocks (``strip``: see `tiler.planning.block_order`), the bytes of decoded chunks to keep (``cache``) and
    estimates are not part of it: a run may resume with others. Nor is the place of stored tensors (``scratch``), but a
    run that is resumed keeps it. ``table`` and ``outlines`` are files about the objects, if they are written; ``why``
    says why the network runs in tiles or stages.
    """

    region: Box
    tile: Shape
    block: Shape
    chunk: Shape
    batch: int
    workers: int
    memory: int
    border: Border
    nan: str
    canvas: Box | None
    footprint: Footprint
    essence: Json
    estimate: Estimate
    shard: Shape | None = None
    strip: Shape = (1, 1, 1)
    cache: int = 0
    tiling: Tiling = "exact"
    execution: Execution = "tiles"
    why: str = ""
    table: str = ""
    outlines: str = ""
    scratch: Scratch | None = None

    def __str__(self) -> str:
        return spelled_for_python("\n".join([sentence_of(self), as_text(rows_of(self)), *hints_of(self)]))

    def _repr_html_(self) -> str:
        return f"<p>{escape(sentence_of(self))}</p>{as_html(rows_of(self))}" + "".join(
            f"<p>{escape(spelled_for_python(hint))}</p>" for hint in hints_of(self))

    @property
    def tiled(self) -> bool:
        """Whether the run uses exact tiles, whose size does not affect the result."""
        return self.exact and not self.staged

    @property
    def exact(self) -> bool:
        """Whether the network runs exactly as on the whole input, in tiles or in stages."""
        return self.tiling == "exact"

    @property
    def staged(self) -> bool:
        """Whether the network runs in stages."""
        return self.execution == "stages"

    @property
    def out_of_core(self) -> bool:
        """Whether tensors of the network are stored on disk."""
        return self.scratch is not None and self.scratch.on_disk

    @property
    def blended(self) -> bool:
        """Whether overlapping windows are averaged."""
        return self.tiling == "blend"

    @property
    def grid(self) -> Grid:
        return Grid(self.region, self.block)

    @property
    def order(self) -> Iterator[int]:
        """Indices of the grid in the order in which blocks are visited."""
        return in_strips(self.grid.counts, self.strip)

    @property
    def fingerprint(self) -> str:
        text = json.dumps(self.essence, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        content = asdict(self)
        for name in ("region", "canvas"):
            box: Box | None = getattr(self, name)
            content[name] = None if box is None else [list(box.start), list(box.stop)]
        return {"format": FORMAT, "fingerprint": self.fingerprint, **content}

    def provenance(self) -> dict[str, Any]:
        """The plan as stored in an output, without values that depend on the machine."""
        content = self.to_json()
        for name in ("batch", "workers", "memory", "strip", "cache", "scratch"):
            del content[name]
        for name in ("peak_bytes", "bytes_decoded", "decodes", "seconds"):
            del content["estimate"][name]
        return content

    @classmethod
    def from_json(cls, content: Json) -> Plan:
        """Read a plan from the JSON of `to_json`.

        Raises
        ------
        PlanError
            If its format version is unknown, or it was changed by hand.
        """
        if content.get("format") != FORMAT:
            raise PlanError(f"the stored plan has format {content.get('format')!r}, this version reads {FORMAT}")
        values = {field.name: content[field.name] for field in fields(cls) if field.name in content}
        for name in ("region", "canvas"):
            values[name] = None if values[name] is None else Box.between(*values[name])
        for name in ("tile", "block", "chunk", "shard", "strip"):
            if values.get(name) is not None:  # plans of earlier versions have no strip
                values[name] = tuple(values[name])
        values["footprint"] = Footprint(**{key: tuple(axis) for key, axis in values["footprint"].items()})
        if values.get("scratch") is not None:
            values["scratch"] = Scratch(**values["scratch"])
        plan = cls(**{**values, "estimate": Estimate(**values["estimate"])})
        if plan.fingerprint != content["fingerprint"]:
            raise PlanError("the stored plan does not match its fingerprint: start anew with `overwrite=True`")
        return plan

    def with_skipped(self, skipped: int | None) -> Plan:
        """The same plan, which leaves out so many blocks."""
        if not skipped:
            return replace(self, estimate=replace(self.estimate, skipped=skipped))
        left, estimate = 1 - skipped / self.estimate.blocks, self.estimate
        seconds = None if estimate.seconds is None else estimate.seconds * left
        return replace(self, estimate=replace(estimate, skipped=skipped, flops=estimate.flops * left, seconds=seconds))

    def with_room(self, room: Room) -> Plan:
        """The same plan with the disk space of its output filled in."""
        return replace(self, estimate=replace(self.estimate, disk_bytes=room.output, temporary_bytes=room.temporary))

    def with_resources(self, batch: int | None, workers: int | None) -> Plan:
        """The same plan with another batch or other workers."""
        return replace(self, batch=batch or self.batch, workers=workers or self.workers)
