"""Open models from names, files and modules; predictors are used as they are."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from tiler.activity import doing
from tiler.errors import PlanError
from tiler.jobs.own_step import step_of
from tiler.objects.asked import cut_of
from tiler.options import AUTO, OF_MODEL, TABLE, KindName, Options, ResolvedOptions
from tiler.ports import Predictor, Source, missing_in
from tiler.ports.units import nanometres
from tiler.sources import open_source

ANY_PREDICTOR = frozenset({"kind", "dtype", "normalise", "threshold", "split", "seeds"})
"""Model options that may be given with a predictor if they agree with it."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that `tiler.open_model` has opened, for any number of segmentations.

    Parameters
    ----------
    predictor
        Predictor that runs the model.
    model
        Model as the user gave it: a name, a path or a module.
    options
        Options with which it was opened.
    """

    predictor: Predictor
    model: Any
    options: Options


def is_predictor(model: Any) -> bool:
    """Whether a model is a predictor, which a torch module is not."""
    return not missing_in(model) and not hasattr(model, "parameters")


def fixed_by(model: Any) -> frozenset[str]:
    """Options whose values this model determines."""
    if isinstance(model, OpenedModel):
        return OF_MODEL
    return OF_MODEL - ANY_PREDICTOR if is_predictor(model) else frozenset()


def refuse_model_options(options: Options, model: Any) -> None:
    """Refuse options that an opened model already fixes, or that contradict a predictor.

    Raises
    ------
    PlanError
        The message names the options.
    """
    options.refuse(fixed_by(model), "the model is already opened: give them to tiler.open_model")
    if not is_predictor(model):
        return
    meaning, kind, rule = model.capabilities.meaning, options.get("kind"), options.get("normalise")
    cut = meaning == "probabilities" and options.get("threshold") is not None
    possible = (meaning, "instances") if meaning == "labels" or cut else (meaning,)
    if kind not in (None, *possible):
        wanted = "a mask" if kind == "mask" else kind
        raise PlanError(f"the predictor gives {meaning}, which cannot become {wanted}: open the model with "
                        f"tiler.open_model(..., `kind={kind}`), or leave out `kind`")
    if options.get("dtype") is not None and kind != "instances":
        raise PlanError("an opened predictor has the type of its output: give it to tiler.open_model", option="dtype")
    if rule is not None and rule.source == "fixed":
        raise PlanError(f"an opened predictor has its own normalisation: give {rule} to tiler.open_model",
                        option="normalise")


def open_model(model: Any, options: Options, trust: bool, source: Any = None) -> OpenedModel:
    """Open a model once, for several segmentations.

    Parameters
    ----------
    model, trust
        As for `tiler.segment`.
    options
        Options of the model; others are refused.
    source
        A volume like those that will be segmented: ``average="rot7"`` needs its size, and ``rescale="auto"`` the size
        of its voxels.

    Raises
    ------
    TilerError
        If the model or an option is not valid; the message is one line.
    """
    options.refuse(TABLE.keys() - OF_MODEL, "they belong to a segmentation, not to a model")
    refuse_model_options(options, model)
    if is_predictor(model) or isinstance(model, OpenedModel):
        raise PlanError("the model is already opened", option="model")
    resolved = options.resolved()
    if source is None and resolved.rescale is AUTO:
        raise PlanError("the voxels of the input are not known yet: give a volume to open_model (source=), or factors",
                        option="rescale")
    volume = None if source is None else open_source(source)
    known = {name: value for name in OF_MODEL if (value := getattr(resolved, name)) is not None}
    return OpenedModel(predictor_of(model, resolved, trust, volume), model, Options.of(known))


def kind_of(options: Options, model: Any) -> KindName:
    """The kind of output that will be written, known before anything is opened."""
    chosen = options.get("kind") or (model.options.get("kind") if isinstance(model, OpenedModel) else None)
    kind: KindName = chosen or (model.capabilities.meaning if is_predictor(model) else TABLE["kind"].default)
    post = options.get("post")
    return kind if post is None else cast(KindName, step_of(post, np.dtype(np.float32), 1, kind).kind)


def predictor_of(model: Any, options: ResolvedOptions, trust: bool, source: Source | None) -> Predictor:
    """The predictor for the name, file or module of a model; an opened one is returned unchanged."""
    if isinstance(model, OpenedModel):
        return model.predictor
    if is_predictor(model):
        found: Predictor = model
        return found
    if "torch" not in sys.modules:
        doing("loading torch")
    # Torch is imported here and nowhere else.
    models = importlib.import_module("tiler.models.predictor.open_predictor")
    name = model if isinstance(model, (str, Path)) else type(model).__name__
    doing(f"loading {name} and checking how it can be tiled")
    opened: Predictor = models.open_predictor(model, weights=options.weights, trust=trust,
                                              arguments=options.model_args, returns=options.returns,
                                              options=models.PredictorOptions(**_predictor_options(options, source)))
    return opened


def _execution(options: ResolvedOptions) -> str:
    """The execution that was asked for; tiles, if their size was."""
    return "tiles" if options.tile is not AUTO else options.execution


def _predictor_options(options: ResolvedOptions, source: Source | None) -> dict[str, Any]:
    """Keywords of `tiler.models.PredictorOptions`."""
    names = ("device", "precision", "backend", "threads", "average", "ensemble")
    chosen: dict[str, Any] = {name: getattr(options, name) for name in names}
    chosen |= {"head": options.head, "tiling": options.tiling, "execution": _execution(options),
               "classes": options.classes,
               "kind": "labels" if options.kind == "instances" and cut_of(options) is None else
               "probabilities" if options.kind == "instances" else options.kind,
               "normalise": "volume" if options.normalise.measured else str(options.normalise)}
    if options.kind == "mask":
        chosen["threshold"] = "auto" if options.threshold is AUTO else options.threshold
    if options.kind == "probabilities":
        chosen["dtype"] = options.dtype
    if options.resize is not None:
        chosen["resize"] = (options.resize[0], options.resize[-1])
    if options.rescale is not None:
        chosen["rescale"] = "auto" if options.rescale is AUTO else options.rescale
        chosen["voxel_size"] = None if source is None else nanometres(source.calibration)
    if options.average == "rot7" and source is not None:
        chosen["slice_shape"] = source.shape[2:]
    return chosen
