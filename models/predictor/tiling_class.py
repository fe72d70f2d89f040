"""Decide how a network runs: in exact tiles if its mathematics allow, else in a way that the user accepts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tiler.errors import ModelError
from tiler.geometry import Footprint, Reach
from tiler.models.aten.graph import NotStagedError, Size
from tiler.models.aten.selfcheck import Staging
from tiler.models.predictor.options import PredictorOptions
from tiler.models.predictor.survey import Survey
from tiler.models.probe import ProbeReport, require_tiled
from tiler.ports import Border, Tiling

log = logging.getLogger(__name__)

_POINT = Reach(0, 0, 0, 0, 1)
_ONE_BEFORE = Reach(1, 0, 0, 0, 1)
"""Reach along z of a network of volumes whose sections depend on each other; none at all would mean slices."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Properties of a network that the engine needs.

    Parameters
    ----------
    footprint, border
        See `tiler.ports.Predictor`.
    tiling
        How the network runs.
    untiled
        Reason why it cannot be tiled exactly, if it cannot.
    as_map
        Whether its output must be resampled to the grid of its input.
    staging
        Result of the check of its stages, if it runs in stages.
    """

    footprint: Footprint
    border: Border
    tiling: Tiling = "exact"
    untiled: str = ""
    as_map: bool = False
    staging: Staging | None = None

    @property
    def exact(self) -> bool:
        """Whether the network runs in exact tiles."""
        return self.tiling == "exact" and not self.staged

    @property
    def staged(self) -> bool:
        """Whether the network runs in stages."""
        return self.staging is not None


def geometry_for(survey: Survey, options: PredictorOptions) -> Geometry:
    """Decide how a network runs.

    Raises
    ------
    UnboundedContextError, OutputShapeError, ModelError
        If the network cannot run as the options say; the message names the layer and suggests a remedy.
    """
    report = survey.derived
    why = ""
    if _is_staged(report, options):
        try:
            return staged_geometry(report, _staging(survey))
        except NotStagedError as reason:
            if options.execution == "stages":
                raise ModelError(f"{report.network} cannot be run in stages: {reason}", option="execution") from reason
            why = str(reason)
            log.info("%s is not run in stages: %s", report.network, reason)
    if _is_proved(survey, options):
        report = survey.proved
        if report.proof and not report.proved and options.execution == "auto" and can_be_staged(report):
            with suppress(NotStagedError):
                return staged_geometry(report, _staging(survey))
    return geometry_of(report, options.tiling, options.resize, lambda: survey.sizes, why)


def _is_staged(report: ProbeReport, options: PredictorOptions) -> bool:
    """Whether to try stages: the user asks for them, or the network has no exact tiles and no option rules them out."""
    if options.execution != "auto":
        return options.execution == "stages"
    return (options.tiling in (None, "exact") and report.exactness != "EXACT" and options.resize is None
            and options.average != "rot7" and can_be_staged(report))


def _is_proved(survey: Survey, options: PredictorOptions) -> bool:
    """Whether tiles are proved before use; those of tiler's own networks are proved by its tests."""
    return options.tiling != "whole" and not survey.loaded.registered and survey.derived.exactness == "EXACT"


def _staging(survey: Survey) -> Staging:
    if not can_be_staged(survey.derived):
        raise NotStagedError("it gives no map that is as large as its input")
    return survey.staging()


def can_be_staged(report: ProbeReport) -> bool:
    """Whether a network gives a map of its whole input, so that its stages are worth checking."""
    return report.exactness != "WHOLE" and (report.footprint is None or report.footprint.keeps_size)


def staged_geometry(report: ProbeReport, staging: Staging) -> Geometry:
    """Geometry of a network that runs in stages, on canvases no larger than it needs."""
    axes = [Reach(0, 0, 0, 0, period) for period in staging.periods]
    first = report.offending[0] if report.offending else "stages were asked for"
    return Geometry(_coupled(report, [_POINT] * (3 - report.ndim) + axes), "zero", untiled=str(first), staging=staging)


def _coupled(report: ProbeReport, axes: Sequence[Reach]) -> Footprint:
    """Footprint of a network with layers that look at their whole input.

    Such layers make the sections of a volume depend on each other, even if no other layer has context along z. The
    footprint is therefore `Footprint.flat` only for networks of slices.
    """
    z, *plane = axes
    return Footprint.of([_ONE_BEFORE if report.ndim == 3 and z == _POINT else z, *plane])


def geometry_of(report: ProbeReport, wanted: Tiling | None, resize: tuple[int, int] | None = None,
                sizes: Callable[[], Size | None] = lambda: None, unstaged: str = "") -> Geometry:
    """Decide how a network runs, from the probe's findings and the user's choice.

    Parameters
    ----------
    report
        Findings of the probe.
    wanted
        How the user wants it to run; None for the most exact way that needs no consent.
    resize
        Size to which every input is resized; inputs may then have any size.
    sizes
        Function that finds ``([z], y, x)`` whose multiples the network takes in one piece; None if unknown.
    unstaged
        Why it does not run in stages, if that was tried.

    Raises
    ------
    UnboundedContextError, OutputShapeError, ModelError
        If the network cannot run in that way; the message names the layer and suggests a remedy.
    """
    exact = report.exactness == "EXACT" and not (report.proof and not report.proved)
    tiling = wanted or ("whole" if report.exactness == "WHOLE" else "exact")
    if tiling != "whole" and resize is not None:
        raise ModelError("only whole inputs are resized: say `tiling=whole`, or leave out `resize`")
    if tiling == "exact":
        return Geometry(require_tiled(report, unstaged), report.border)
    if exact and tiling == "blend":
        raise ModelError(f"{report.network} is exact in tiles: it need not be blended, leave out `tiling=blend`")
    return _windowed(report, tiling, resize, sizes)


def _windowed(report: ProbeReport, tiling: Tiling, resize: tuple[int, int] | None,
              sizes: Callable[[], Size | None]) -> Geometry:
    plain, first = report.footprint, report.offending[0] if report.offending else None
    no_map = report.exactness == "WHOLE" or (first is not None and first.kind == "output")
    if no_map and tiling == "blend":
        raise ModelError(f"{report.network} gives no map of its input ({first}), of which nothing can be blended: use "
                         "`tiling=whole`")
    if plain is not None and not plain.keeps_size:
        raise ModelError(f"{report.network} drops {plain.shrink_low} and {plain.shrink_high} voxels of its input, so "
                         f"that nothing of it is left at the faces: `tiling={tiling}` is for networks that pad")
    axes = [_POINT] * 3 if plain is None else [_in_phase(axis) for axis in plain.axes]
    if resize is not None:
        _check_size(report, axes, resize)
        axes = [_POINT] * 3
    elif tiling == "whole" and plain is not None and (periods := sizes()) is not None:
        # If the network takes the image unchanged, call it directly: no mirrored border is added.
        axes = [_POINT] * (3 - report.ndim) + [Reach(0, 0, 0, 0, period) for period in periods]
    untiled = str(first) if first else "the proof of its footprint failed"
    return Geometry(_coupled(report, axes), "zero", tiling, untiled=untiled, as_map=no_map)


def _check_size(report: ProbeReport, axes: list[Reach], resize: tuple[int, int]) -> None:
    for axis, size in zip(axes[1:], resize, strict=True):
        if not axis.admits(size):
            below, above = axis.nearest(size)
            raise ModelError(f"{report.network} does not take inputs of {size}: the nearest sizes that it takes are "
                             f"{below} and {above}", option="resize")


def _in_phase(axis: Reach) -> Reach:
    """A footprint without context, for the sizes at which no pooling rounds."""
    return Reach(0, (axis.low + axis.high) % axis.stride, 0, 0, axis.stride)
