"""Choose between the two ways to run an exact network, which give the same values: tiles with context, and stages.

Tiles compute their context again; stages compute everything once, but each step waits for the whole of the one
before, and their tensors lie in memory or on disk. Where the network takes an input of any size as it is, its result
is that of the plain call on the image itself, which tiles give only at sizes in phase.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tiler.errors import MemoryBudgetError, ModelError, PlanError
from tiler.geometry import canvas_of
from tiler.geometry.boxes import Box
from tiler.planning.plan import Plan, Settings
from tiler.planning.resolve import resolve
from tiler.ports import InStages, Predictor, Source

Found = TypeVar("Found")

STAGED, ON_DISK = 1.25, 1.2
"""Seconds of an operation in stages over one in tiles, and the factor for tensors on disk.

Measured with nnU-Net 3-D (64 x 192 x 192) and smp.Unet resnet34 (2048 squared) on two cores: 0.9 to 1.35, and 1.2."""


def chosen(settings: Settings, source: Source, predictor: Predictor, wanted: str) -> tuple[Predictor, str]:
    """The predictor that runs as wanted, or in the cheaper way, and why.

    Parameters
    ----------
    settings
        Settings that the user chose.
    source, predictor
        As for `tiler.planning.resolve.resolve`.
    wanted
        "tiles", "stages", or "auto"; a given tile means tiles.

    Raises
    ------
    PlanError
        If the network cannot run as wanted.
    MemoryBudgetError
        If neither way fits into memory.
    """
    can, wanted = predictor.capabilities, "tiles" if settings.tile else wanted
    if can.staged or can.in_stages is None or (settings.border or predictor.border) == "mirror":
        return _only(predictor, wanted)
    if wanted == "stages":
        return can.in_stages.predictor(), "as you chose"
    if not _in_phase(source, predictor) and can.in_stages.takes(source.shape[1:]):
        size = "x".join(map(str, source.shape[1:]))
        if wanted == "tiles":
            raise PlanError(f"the network takes an input of {size} as it is, and tiles give its result only at sizes "
                            "in phase: leave out `execution` and `tile`, or say `border=mirror`")
        return can.in_stages.predictor(), f"the network takes an input of {size} as it is"
    return (predictor, "as you chose") if wanted == "tiles" else _cheaper(settings, source, predictor, can.in_stages)


def _only(predictor: Predictor, wanted: str) -> tuple[Predictor, str]:
    can = predictor.capabilities
    if wanted == "tiles" and can.staged:
        raise PlanError(f"the network has no exact tiles, since {can.untiled}: leave out `execution` and `tile`, or "
                        "say `tiling=blend`")
    if wanted == "stages" and not can.staged:
        raise PlanError("the network cannot be run in stages as it was opened: leave out `execution`")
    return predictor, "as you chose" if wanted == "stages" else can.untiled if can.staged else ""


def _in_phase(source: Source, predictor: Predictor) -> bool:
    """Whether the canvas of tiles is the volume itself."""
    spans = Box.of_shape(source.shape[1:]).spans
    return all(canvas_of(span, axis) == span for span, axis in zip(spans, predictor.footprint.axes, strict=True))


def _cheaper(settings: Settings, source: Source, predictor: Predictor, other: InStages) -> tuple[Predictor, str]:
    tiles = _tried(lambda: resolve(settings, source, predictor))
    if isinstance(tiles, Plan) and 1 - tiles.estimate.redundant >= 1 / STAGED:
        return predictor, f"tiles spend {tiles.estimate.redundant:.0%} of their operations on context"
    staged = _tried(other.predictor)
    stages = staged if isinstance(staged, Exception) else _tried(lambda: resolve(settings, source, staged))
    if isinstance(tiles, Exception) and isinstance(stages, Exception):
        raise tiles
    if isinstance(stages, Exception):
        return predictor, f"in stages, {stages}"
    assert not isinstance(staged, Exception), "it has a plan"
    if isinstance(tiles, Exception):
        return staged, "no tile fits into memory"
    share = _cost(stages) / _cost(tiles)
    spent = f"tiles spend {tiles.estimate.redundant:.0%} of their operations on context"
    return (staged if share < 1 else predictor), f"{spent}; stages take about {share:.1f} times as long"


def _cost(plan: Plan) -> float:
    """Operations of a plan, weighed by the time that they take."""
    on_disk = plan.scratch is not None and plan.scratch.on_disk
    return plan.estimate.flops * (STAGED if plan.staged else 1) * (ON_DISK if on_disk else 1)


def _tried(make: Callable[[], Found]) -> Found | MemoryBudgetError | ModelError:
    """A result, or the refusal."""
    try:
        return make()
    except (MemoryBudgetError, ModelError) as refusal:
        return refusal
