"""Open a `TorchPredictor`, and resolve here, once, everything that the user left open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.geometry import Footprint, Shape
from tiler.models.cropping.predictor import cropped_tiles
from tiler.models.inference.backends import CPU_FIRST, Setting, open_backend
from tiler.models.inference.backends.choosing import fastest
from tiler.models.inference.cost import Tracer, unfolds
from tiler.models.inference.devices import resolve_devices, resolve_precision
from tiler.models.inference.network import Network
from tiler.models.loading.ensemble import load_ensemble, members_of
from tiler.models.loading.loaded_model import LoadedModel, warn_of_halo
from tiler.models.loading.open_model import load_model
from tiler.models.predictor.averaging import Orientations, Turns
from tiler.models.predictor.evaluators import Evaluator, Inexact, WholeTiles
from tiler.models.predictor.head_of import head_of
from tiler.models.predictor.heads import Activation
from tiler.models.predictor.options import PredictorOptions
from tiler.models.predictor.rescaling import Rescaled, factors_of
from tiler.models.predictor.rotation import Rotations
from tiler.models.predictor.scaling import Scaling, fixed_scaling
from tiler.models.predictor.stage_outline import StageOutline
from tiler.models.predictor.stages import Stages
from tiler.models.predictor.survey import Survey
from tiler.models.predictor.tiling_class import Geometry, geometry_for
from tiler.models.predictor.torch_predictor import TorchPredictor
from tiler.models.predictor.whole_images import on_whole_images
from tiler.models.predictor.written import Values, written_as
from tiler.models.probe import prove

__all__ = ["PredictorOptions", "TorchPredictor", "open_predictor"]

MEASURED = (32, 128, 128)
"""Core of the tile used to measure backends."""
LEAST_WINDOW = (32, 64, 64)
"""Smallest size at which networks without a context are traced, so that it survives the pooling of any of them."""


def open_predictor(
    model: str | Path | nn.Module,
    *,
    weights: str | Path | Sequence[str | Path] | None = None,
    trust: bool = False,
    arguments: Mapping[str, Any] | None = None,
    returns: str | int | None = None,
    options: PredictorOptions,
) -> TorchPredictor:
    """Load a network, find its footprint, and resolve all open options.

    Parameters
    ----------
    model, trust, arguments, returns
        See `tiler.models.load_model`.
    weights
        See `tiler.models.load_model`; several files, or a folder of them, form an ensemble.
    options
        See `PredictorOptions`.

    Raises
    ------
    ModelError
        If the network cannot be loaded or run, or the options contradict each other.
    UnboundedContextError
        If no finite context is enough for the network.
    """
    def load(member: str | Path | None) -> LoadedModel:
        return load_model(model, member, trust, arguments, returns)

    loaded = _loaded(members_of(weights), load, options)
    declared = options.footprint
    if declared is not None:
        return _assembled(loaded, _declared(loaded, declared), options)
    survey = Survey(loaded)
    geometry = geometry_for(survey, options)
    opened = _assembled(loaded, geometry, options)
    both = geometry.exact and geometry.border == "zero" and options.average != "rot7"
    return replace(opened, otherwise=InStages(survey, options)) if both else opened


@dataclass(frozen=True)
class InStages:
    """A `tiler.ports.InStages`: a network that is open in tiles."""

    survey: Survey
    options: PredictorOptions

    def takes(self, shape: Shape) -> bool:
        sizes = self.survey.sizes
        return sizes is not None and not any(side % each for side, each in
                                             zip(shape[3 - len(sizes):], sizes, strict=True))

    def predictor(self) -> TorchPredictor:
        options = replace(self.options, execution="stages")
        return _assembled(self.survey.loaded, geometry_for(self.survey, options), options)


def _assembled(loaded: LoadedModel, geometry: Geometry, options: PredictorOptions) -> TorchPredictor:
    """The predictor of a network with that geometry."""
    plain = geometry.footprint
    devices = resolve_devices("cpu" if options.device == "auto" and options.backend in CPU_FIRST else options.device)
    device = devices[0]
    precision = resolve_precision(options.precision, device)
    options = _for_tiling(options, geometry)
    orientations = orientations_of(options, geometry, loaded)
    if geometry.exact:
        warn_of_halo(loaded, plain)
    if geometry.as_map or options.resize is not None:
        loaded = on_whole_images(loaded, options.resize)
    setting = Setting(loaded, device, precision, options.threads or torch.get_num_threads(),
                      options.precision == "tf32")
    backend = _backend(options.backend, setting, plain)
    shapes = _shapes(loaded, geometry)
    # Opening an exported program compares it with a pass in float32, for any precision of its own.
    traced = torch.float32 if options.backend in CPU_FIRST else precision
    tracer = Tracer(loaded, traced, device.type == "cpu" and unfolds(traced), shapes)
    smallest = tracer.at(shapes[0])
    names = _channel_names(loaded, smallest.shape[1])
    head = head_of(options, loaded, len(names), smallest.ends)
    return TorchPredictor(
        model=loaded,
        network=Network(setting, backend, devices),
        tracer=tracer,
        border="mirror" if options.average == "rot7" else geometry.border,
        scaling=_scaling(options, loaded),
        orientations=orientations,
        evaluator=evaluator_of(loaded, geometry, backend, cropped=isinstance(orientations, Turns),
                               precision=precision),
        head=Activation(head or "none"),
        written=written_as(options.kind, Values(names, head, smallest.ends), options.classes, options.dtype,
                           _threshold(options, loaded)),
    )


def _threshold(options: PredictorOptions, loaded: LoadedModel) -> float | None:
    """The threshold of a mask; "auto" is the best one by the weights."""
    if options.threshold != "auto":
        return None if options.threshold is None else float(options.threshold)
    best = loaded.trained_on.best_threshold
    if best is None:
        raise ModelError("the weights do not say which threshold scored best: give a number, such as `threshold=0.5`")
    return best


def _loaded(members: Sequence[str | Path], load: Callable[[str | Path | None], LoadedModel],
            options: PredictorOptions) -> LoadedModel:
    """Load the network, or the mean of several of its weights."""
    if len(members) < 2:
        return load(members[0] if members else None)
    return load_ensemble(members, load, options.head, options.ensemble)


def _shapes(loaded: LoadedModel, geometry: Geometry) -> tuple[tuple[int, ...], ...]:
    """Legal input shapes ``(1, c, [z], y, x)``, one more than there are spatial axes, the smallest first."""
    plain = geometry.footprint
    least = plain.smallest if geometry.exact else tuple(map(max, plain.smallest, LEAST_WINDOW))
    small = [plain.covering(tuple(core * side for side in least)) for core in range(1, loaded.ndim + 2)]
    return tuple((1, loaded.in_channels, *size[3 - loaded.ndim :]) for size in small)


def orientations_of(options: PredictorOptions, geometry: Geometry, loaded: LoadedModel) -> Orientations:
    """The orientations that `average` requests, at the voxel size that `rescale` requests."""
    plain = geometry.footprint
    if options.slice_shape is not None and options.average == "rot7":
        return Rotations(plain, options.slice_shape)
    turns = Turns(plain, options.average)
    if options.rescale is None:
        return turns
    if not geometry.exact:
        raise ModelError("only networks that are run in exact tiles see their input at another voxel "
                         "size: resample the volume beforehand, and leave it out", option="rescale")
    factors = factors_of(options.rescale, options.voxel_size, loaded.trained_on.voxel_size, plain.flat)
    return turns if set(factors) == {1} else Rescaled(turns, factors)


def evaluator_of(
    loaded: LoadedModel, geometry: Geometry, backend: str, *, cropped: bool, precision: torch.dtype
) -> Evaluator:
    """The evaluator of a network with that geometry; ``cropped`` allows it to compute parts of a tile."""
    if geometry.staged:
        return Stages(StageOutline(loaded, precision), geometry.untiled)
    if not geometry.exact:
        return Inexact(geometry.tiling, geometry.untiled)
    crops = cropped_tiles(loaded, geometry.footprint, backend) if cropped else None
    return crops or WholeTiles()


def _declared(loaded: LoadedModel, footprint: Footprint) -> Geometry:
    """Geometry of a network whose footprint the user declares. Foreign ones are proved, tiler's own by its tests."""
    proof = () if loaded.registered else prove(loaded.bare(), footprint, loaded.in_channels, loaded.ndim)
    failed = [part for part in proof if not part.passed]
    if failed:
        raise ModelError(f"the footprint declared for {loaded.identity['model']} is not proved: {failed[0].name}: "
                         f"{failed[0].detail}")
    return Geometry(footprint, "zero" if footprint.keeps_size else "mirror")


def _for_tiling(options: PredictorOptions, geometry: Geometry) -> PredictorOptions:
    """Check the options against how the network runs, and return them."""
    if not geometry.exact and options.average == "rot7":
        raise ModelError("seven rotations are averaged over tiles that are exact: use `average=d4`, or leave out "
                         "`tiling`")
    return _for_stages(options) if geometry.staged else options


def _for_stages(options: PredictorOptions) -> PredictorOptions:
    """Check and return the options of a network that runs in stages, operator by operator."""
    if options.backend not in ("auto", "torch"):
        raise ModelError(f"the network is run in stages, which `backend={options.backend}` cannot do: use "
                         "torch")
    if options.resize is not None:
        raise ModelError("only whole inputs are resized: say `tiling=whole`, or leave out `resize`")
    return replace(options, backend="torch")


def _channel_names(loaded: LoadedModel, channels: int) -> tuple[str, ...]:
    if loaded.classes is None:
        return tuple(f"class {index}" for index in range(channels))
    if len(loaded.classes) != channels:
        raise ModelError(f"the weights name {len(loaded.classes)} classes, the network gives {channels} channels",
                         option="weights")
    return loaded.classes


def _backend(name: str, setting: Setting, plain: Footprint) -> str:
    if name == "auto":
        tile = plain.covering((1 if plain.flat else MEASURED[0], *MEASURED[1:]))
        return fastest(setting, (1, setting.model.in_channels, *tile[3 - setting.model.ndim :]))
    open_backend(name).check(setting.device, setting.precision, setting.tf32)
    return name


def _scaling(options: PredictorOptions, loaded: LoadedModel) -> Scaling:
    values = loaded.normalisation if options.normalise == "weights" else fixed_scaling(options.normalise)
    return Scaling(options.normalise, values and values.checked(loaded.in_channels), loaded.measured,
                   standardised=loaded.normalisation is not None)
