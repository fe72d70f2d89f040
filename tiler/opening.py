"""From names and options to ports: the source and the predictor of one segmentation."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import PlanError
from tiler.geometry import Box
from tiler.jobs.masked import Part, part_of
from tiler.jobs.slice_scaling import ScaledSlices, needs_slices
from tiler.jobs.statistics import check_countable
from tiler.machine import available_memory
from tiler.objects.asked import check_rules, cut_of, rules_of
from tiler.objects.rules import Rules
from tiler.options import AUTO, OF_MODEL, TABLE, KindName, Options, ResolvedOptions, parse_rule
from tiler.planning.plan import Plan, Settings
from tiler.planning.resolve import resolve
from tiler.ports import Json, Predictor, Source, missing_in
from tiler.sources import open_source
from tiler.sources.files import PRECOMPUTED
from tiler.sources.volume import VolumeSource
from tiler.stores.address import is_address, names_place

ANY_PREDICTOR = frozenset({"kind", "dtype", "normalise", "threshold", "split", "seeds"})
"""Options of the model that may be given with a predictor, as far as they agree with its values."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that `tiler.open_model` has opened, for any number of segmentations.

    Parameters
    ----------
    predictor
        What runs it.
    model
        As it was given: a name, a path or a module.
    options
        Those that it was opened with.
    """

    predictor: Predictor
    model: Any
    options: Options


@dataclass(frozen=True, slots=True)
class Opened:
    """The ports of a segmentation and what is wanted of them."""

    options: ResolvedOptions
    source: Source
    predictor: Predictor
    region: Box | None
    part: Part | None = None
    """What is segmented; None for everything."""
    unknown: frozenset[str] = frozenset()
    """Options whose values are those of a predictor that somebody else opened."""

    @property
    def statistics(self) -> str | None:
        """The rule of a first pass over the volume, None where there is none."""
        rule = self.options.normalise
        return str(rule) if rule.measured else None

    @property
    def kind(self) -> str:
        return self.options.kind

    @property
    def instance_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.options.dtype if self.kind == "instances" else "uint32")

    @property
    def rules(self) -> Rules | None:
        """How objects are made of labels; None where none are."""
        if self.kind != "instances":
            return None
        return rules_of(self.options, self.source, self.predictor)

    def plan(self) -> Plan:
        """What will be done with them."""
        rules, extra = self.rules, _extra(self.options)
        if rules is not None:
            check_rules(rules, self.source, self.predictor)
            extra = {**extra, "instance_dtype": self.options.dtype, "objects": rules.to_json()}
        if self.part is not None:
            extra = {**extra, "part": self.part.to_json()}
        return resolve(_settings(self.options, self.region), self.source, self.predictor, extra,
                       tune=self.options.tune)

    def to_json(self) -> dict[str, Any]:
        """The options that are known, with which the same can be opened again."""
        return {name: value for name, value in self.options.to_json().items() if name not in self.unknown}


def open_all(source: Any, model: Any, options: Options, trust: bool, stored: Json | None = None) -> Opened:
    """Open the ports.

    Parameters
    ----------
    source, model, trust
        As for `tiler.segment`.
    options
        As they were given.
    stored
        Options of the run that goes on; the given ones win.

    Raises
    ------
    TilerError
        Whatever is wrong with the input, the model or the options, in one line.
    """
    refuse_model_options(options, model)
    known = {name: value for name, value in (stored or {}).items() if name not in _fixed_by(model)}
    if isinstance(model, OpenedModel):
        known |= model.options.given()
    elif is_predictor(model):
        known = {"kind": model.capabilities.meaning, **known}
    resolved = options.over(known).resolved()
    volume = open_source(source, axes=resolved.axes, channel=resolved.channel, missing=resolved.missing, trust=trust,
                         time=None if resolved.roi is None else resolved.roi.time)
    predictor = predictor_of(model, resolved, trust, volume)
    _check_time(volume, predictor)
    box = None if resolved.roi is None else resolved.roi.within(volume.shape[1:])
    if box is not None and isinstance(volume, VolumeSource):
        volume.check_region(box, resolved.missing)
    unknown = _fixed_by(model) if is_predictor(model) else frozenset[str]()
    if is_predictor(model) and resolved.kind != "instances":
        unknown |= {"dtype"}
    return _with_scaling(Opened(resolved, volume, predictor, box, part_of(resolved, volume), unknown))


def _with_scaling(opened: Opened) -> Opened:
    """With the statistics that the model's own scaling needs, where it has one and the user did not choose another."""
    own = opened.predictor.capabilities.own_scaling
    if own is not None:
        if needs_slices(opened.source, own.measures, opened.predictor.footprint.flat):
            slices = ScaledSlices(opened.source, own.measures, opened.options.nan)
            return replace(opened, source=slices, predictor=own.done)
        opened = replace(opened, options=replace(opened.options, normalise=parse_rule(own.measures.rule)))
    check_countable(opened.options.normalise, opened.source.dtype)
    return opened


def is_predictor(model: Any) -> bool:
    """Whether a model is a predictor that somebody opened; a module of torch is none."""
    return not missing_in(model) and not hasattr(model, "parameters")


def _fixed_by(model: Any) -> frozenset[str]:
    """Options that are already decided when this model is given."""
    if isinstance(model, OpenedModel):
        return OF_MODEL
    return OF_MODEL - ANY_PREDICTOR if is_predictor(model) else frozenset()


def refuse_model_options(options: Options, model: Any) -> None:
    """Refuse options that an opened model has already, or that contradict what a predictor gives.

    Raises
    ------
    PlanError
        Naming them.
    """
    options.refuse(_fixed_by(model), "the model is already opened: give them to tiler.open_model")
    if not is_predictor(model):
        return
    meaning, kind, rule = model.capabilities.meaning, options.get("kind"), options.get("normalise")
    cut = meaning == "probabilities" and options.get("threshold") is not None
    possible = (meaning, "instances") if meaning == "labels" or cut else (meaning,)
    if kind not in (None, *possible):
        raise PlanError(f"the predictor gives {meaning}, of which no {kind} are made: open the model with "
                        f"tiler.open_model(..., `kind={kind}`), or leave out `kind`")
    if options.get("dtype") is not None and kind != "instances":
        raise PlanError("an opened predictor has the type of its output: give it to tiler.open_model", option="dtype")
    if rule is not None and rule.source == "fixed":
        raise PlanError(f"an opened predictor has its own normalisation: give {rule} to tiler.open_model",
                        option="normalise")


def open_model(model: Any, options: Options, trust: bool, source: Any = None) -> OpenedModel:
    """A model that is opened once, for several segmentations.

    Parameters
    ----------
    model, trust
        As for `tiler.segment`.
    options
        Those of the model; others are refused.
    source
        A volume as large as those to come, needed for ``average="rot7"`` alone.

    Raises
    ------
    TilerError
        Whatever is wrong with the model or the options, in one line.
    """
    options.refuse(TABLE.keys() - OF_MODEL, "they belong to a segmentation, not to a model")
    refuse_model_options(options, model)
    if is_predictor(model) or isinstance(model, OpenedModel):
        raise PlanError("the model is already opened", option="model")
    resolved = options.resolved()
    volume = None if source is None else open_source(source)
    known = {name: value for name in OF_MODEL if (value := getattr(resolved, name)) is not None}
    return OpenedModel(predictor_of(model, resolved, trust, volume), model, Options.of(known))


def kind_of(options: Options, model: Any) -> KindName:
    """What will be written, where it is asked before anything is opened."""
    chosen = options.get("kind") or (model.options.get("kind") if isinstance(model, OpenedModel) else None)
    kind: KindName = chosen or (model.capabilities.meaning if is_predictor(model) else TABLE["kind"].default)
    return kind


def predictor_of(model: Any, options: ResolvedOptions, trust: bool, source: Source | None) -> Predictor:
    """The predictor of a model's name, file or module; one that is opened is taken as it is."""
    if isinstance(model, OpenedModel):
        return model.predictor
    if is_predictor(model):
        found: Predictor = model
        return found
    # Torch is imported here and nowhere else.
    models = importlib.import_module("tiler.models.predictor.open_predictor")
    opened: Predictor = models.open_predictor(model, weights=options.weights, trust=trust,
                                              arguments=options.model_args, returns=options.returns,
                                              options=models.PredictorOptions(**_predictor_options(options, source)))
    return opened


def _predictor_options(options: ResolvedOptions, source: Source | None) -> dict[str, Any]:
    """Keywords of `tiler.models.PredictorOptions`."""
    names = ("device", "precision", "backend", "threads", "average", "ensemble")
    chosen: dict[str, Any] = {name: getattr(options, name) for name in names}
    chosen |= {"head": options.head, "tiling": options.tiling, "classes": options.classes,
               "kind": "labels" if options.kind == "instances" and cut_of(options) is None else
               "probabilities" if options.kind == "instances" else options.kind,
               "normalise": "volume" if options.normalise.measured else str(options.normalise)}
    if options.kind == "probabilities":
        chosen["dtype"] = options.dtype
    if options.resize is not None:
        chosen["resize"] = (options.resize[0], options.resize[-1])
    if options.average == "rot7" and source is not None:
        chosen["slice_shape"] = source.shape[2:]
    return chosen


def _settings(options: ResolvedOptions, region: Box | None) -> Settings:
    return Settings(
        tile=None if options.tile is AUTO else options.tile, block=None if options.block is AUTO else options.block,
        batch=None if options.batch is AUTO else options.batch, memory=_memory(options), workers=options.workers,
        readers=None if options.executor == "dask" else options.workers, region=region, border=options.border,
        nan=options.nan)


def _memory(options: ResolvedOptions) -> int | None:
    """For one process; None leaves it to the plan."""
    memory = None if options.memory is AUTO else options.memory
    if options.processes == 1:
        return memory
    return (memory or available_memory() // 2) // options.processes


def _extra(options: ResolvedOptions) -> Json:
    """What comes after the model and can change the result."""
    return {"kind": options.kind, "normalise": str(options.normalise), **options.storage}


def _check_time(source: Source, predictor: Predictor) -> None:
    axes, sizes = source.calibration.axes, source.calibration.sizes
    if "t" in axes and sizes[axes.index("t")] > 1 and not predictor.footprint.flat:
        raise PlanError(f"{source.name} has {sizes[axes.index('t')]} time points, the network takes volumes: "
                        "choose one with `roi=t=N`")


def describe_source(source: Any) -> str:
    """A path as absolute text, anything else as its type: enough to find it again, or to say that one cannot."""
    if not names_place(source):
        return f"<{type(source).__name__}>"
    if is_address(source):
        return str(source)
    scheme = PRECOMPUTED if str(source).startswith(PRECOMPUTED) else ""
    return scheme + str(Path(str(source).removeprefix(scheme)).absolute())


def describe_model(model: Any) -> str:
    """A name as it is, a file as an absolute path, a module in memory as its type."""
    if isinstance(model, OpenedModel):
        return describe_model(model.model)
    if not isinstance(model, (str, Path)):
        return f"<{type(model).__name__}>"
    file, colon, factory = str(model).partition(":")
    marks = ("*.y*ml", "plans.json", "config.json", "configs")
    package = any(any(Path(file).glob(mark)) for mark in marks) if Path(file).is_dir() else False
    return f"{Path(file).absolute()}{colon}{factory}" if package or Path(file).is_file() else str(model)
