"""How a network is run: in exact tiles where its mathematics allow that, else as the user agrees to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tiler.errors import ModelError
from tiler.geometry import Footprint, Reach
from tiler.models.aten.graph import Size
from tiler.models.aten.selfcheck import Staging
from tiler.models.probe import ProbeReport, require_tiled
from tiler.models.probe.passes import Pass
from tiler.ports import Border, Tiling

_POINT = Reach(0, 0, 0, 0, 1)
_ONE_BEFORE = Reach(1, 0, 0, 0, 1)
"""Along z of a network of volumes that takes every depth: a footprint without context there is that of slices."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Properties of a network that the engine must know.

    Parameters
    ----------
    footprint, border
        See `tiler.ports.Predictor`.
    tiling
        How it is run.
    passes
        That come before the last one.
    inexact
        Why it cannot be tiled exactly, where it cannot.
    as_map
        Whether its output must be brought to the grid of its input.
    staging
        What was found out about its stages, where it is run in stages.
    """

    footprint: Footprint
    border: Border
    tiling: Tiling = "exact"
    passes: tuple[Pass, ...] = ()
    inexact: str = ""
    as_map: bool = False
    staging: Staging | None = None

    @property
    def exact(self) -> bool:
        """Whether it is run in exact tiles."""
        return self.tiling == "exact"

    @property
    def staged(self) -> bool:
        """Whether it is run in stages."""
        return self.tiling == "stages"


def can_be_staged(report: ProbeReport) -> bool:
    """Whether a network gives a map of its whole input, so that it is worth a look whether its stages do."""
    return report.exactness != "WHOLE" and (report.footprint is None or report.footprint.keeps_size)


def staged_geometry(report: ProbeReport, staging: Staging) -> Geometry:
    """Of a network that is run in stages, on canvases that are no larger than it needs."""
    axes = [Reach(0, 0, 0, 0, period) for period in staging.periods]
    if report.ndim == 3 and axes[0] == _POINT:
        axes[0] = _ONE_BEFORE
    first = report.offending[0] if report.offending else "stages were asked for"
    return Geometry(Footprint.of([_POINT] * (3 - report.ndim) + axes), "zero", "stages", inexact=str(first),
                    staging=staging)


def geometry_of(report: ProbeReport, wanted: Tiling | None, resize: tuple[int, int] | None = None,
                sizes: Callable[[], Size | None] = lambda: None) -> Geometry:
    """Decide how a network is run, from what was found out about it and what the user wants.

    Parameters
    ----------
    report
        Findings of the probe.
    wanted
        How it is to be run; None for the strongest way that needs no consent.
    resize
        What every input is resized to, which then has any size itself.
    sizes
        Finds ``([z], y, x)`` of which the network takes all multiples as one piece; None where that is not known.

    Raises
    ------
    UnboundedContextError, OutputShapeError, ModelError
        If the network cannot be run so; the message names the layer, and says what could be done.
    """
    exact = report.exactness in ("EXACT", "EXACT_2PASS") and not (report.proof and not report.proved)
    tiling = wanted or ("whole" if report.exactness == "WHOLE" else "exact")
    if tiling != "whole" and resize is not None:
        raise ModelError("only whole inputs are resized: say --tiling whole, or leave out --resize")
    if tiling == "exact":
        return Geometry(require_tiled(report), report.border, passes=report.passes)
    if exact and tiling == "blend":
        raise ModelError(f"{report.network} is {report.exactness}: it need not be blended, leave out --tiling blend")
    return _windowed(report, tiling, resize, sizes)


def _windowed(report: ProbeReport, tiling: Tiling, resize: tuple[int, int] | None,
              sizes: Callable[[], Size | None]) -> Geometry:
    plain, first = report.footprint, report.offending[0] if report.offending else None
    no_map = report.exactness == "WHOLE" or (first is not None and first.kind == "output")
    if no_map and tiling == "blend":
        raise ModelError(f"{report.network} gives no map of its input ({first}), of which nothing can be blended: use "
                         "--tiling whole")
    if plain is not None and not plain.keeps_size:
        raise ModelError(f"{report.network} drops {plain.shrink_low} and {plain.shrink_high} voxels of its input, so "
                         f"that nothing of it is left at the faces: --tiling {tiling} is for networks that pad")
    axes = [_POINT] * 3 if plain is None else [_in_phase(axis) for axis in plain.axes]
    if resize is not None:
        _check_size(report, axes, resize)
        axes = [_POINT] * 3
    elif tiling == "whole" and plain is not None and (periods := sizes()) is not None:
        # The plain call wherever the network takes the image as it is: nothing is mirrored beyond that.
        axes = [_POINT] * (3 - report.ndim) + [Reach(0, 0, 0, 0, period) for period in periods]
    inexact = str(first) if first else "the proof of its footprint failed"
    return Geometry(Footprint.of(axes), "zero", tiling, inexact=inexact, as_map=no_map)


def _check_size(report: ProbeReport, axes: list[Reach], resize: tuple[int, int]) -> None:
    for axis, size in zip(axes[1:], resize, strict=True):
        if not axis.admits(size):
            below, above = axis.nearest(size)
            raise ModelError(f"{report.network} does not take inputs of {size}: the nearest sizes that it takes are "
                             f"{below} and {above} (--resize)")


def _in_phase(axis: Reach) -> Reach:
    """No context, and the class of sizes at which no pooling floors or ceils."""
    return Reach(0, (axis.low + axis.high) % axis.stride, 0, 0, axis.stride)
