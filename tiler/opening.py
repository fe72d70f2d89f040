"""From names and options to ports: the source and the predictor of one segmentation."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import PlanError
from tiler.geometry import Box
from tiler.jobs.slice_scaling import ScaledSlices, needs_slices
from tiler.jobs.statistics import parse_rule
from tiler.machine import available_memory, cores
from tiler.options import Options, parse_bytes, parse_count, parse_roi, parse_sizes
from tiler.planning.plan import Plan, Settings
from tiler.planning.resolve import resolve
from tiler.ports import Json, Predictor, Source
from tiler.sources import open_source
from tiler.sources.files import PRECOMPUTED
from tiler.stores.address import Address, is_address

KINDS = ("probabilities", "labels", "instances")
INSTANCE_TYPES = ("uint32", "uint64")

DEFAULTS: dict[str, Any] = {
    "kind": "probabilities",
    "executor": "threads",
    "workers": 2,
    "tune": True,
    "normalise": "weights",
    "nan": "refuse",
    "device": "auto",
    "precision": "float32",
    "backend": "torch",
    "average": "none",
    "ngff": "0.5",
    "min_size": 0,
}


Given = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """The ports of a segmentation and what is wanted of them."""

    options: Options
    source: Source
    predictor: Predictor
    region: Box | None

    @property
    def statistics(self) -> str | None:
        rule = self.options.normalise
        return rule if rule is not None and rule.startswith("volume") else None

    @property
    def kind(self) -> str:
        return str(self.options.kind)

    @property
    def instance_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.options.dtype or INSTANCE_TYPES[0])

    def plan(self) -> Plan:
        """What will be done with them."""
        return resolve(_settings(self.options, self.region), self.source, self.predictor, _extra(self.options),
                       tune=bool(self.options.tune))


def with_defaults(options: Options) -> Options:
    """Every default of the package, in one place."""
    filled = Options(**{**DEFAULTS, **options.given()})
    if filled.threads is None:
        filled = replace(filled, threads=max(1, cores() // _processes(filled)))
    _check_choice("--as", filled.kind, KINDS)
    _check_choice("--ngff", filled.ngff, ("0.5", "0.4"))
    _check_choice("--tiling", filled.tiling, ("exact", "blend", "whole", None))
    _check_choice("--nan", filled.nan, ("refuse", "zero"))
    _check_choice("--border", filled.border, ("mirror", "zero", None))
    if filled.kind == "instances":
        _check_choice("--dtype", filled.dtype, (*INSTANCE_TYPES, None))
    if filled.kind == "labels":
        _check_choice("--dtype", filled.dtype, ("uint8", None))
    if filled.min_size and filled.kind != "instances":
        raise PlanError(f"{filled.kind} have no objects of {filled.min_size} voxels: say --as instances, or leave out "
                        "--min-size")
    if filled.average == "rot7":
        _check_choice("--border", filled.border, ("mirror", None))
    return filled


def _processes(options: Options) -> int:
    """How many share this machine."""
    if options.executor != "dask" or options.scheduler is not None:
        return 1
    return parse_count(options.workers, "--workers") or int(DEFAULTS["workers"])


def open_all(source: Any, model: Any, options: Options, trust: bool) -> Opened:
    """Open the ports.

    Raises
    ------
    TilerError
        Whatever is wrong with the input, the model or the options, in one line.
    """
    options = with_defaults(options)
    region = parse_roi(options.roi)
    time = None if region is None else region.time
    volume = open_source(source, axes=options.axes, channel=options.channel, time=time)
    predictor = open_model(model, options, trust, volume)
    _check_time(volume, predictor)
    box = None if region is None else region.within(volume.shape[1:])
    return _with_scaling(Opened(options, volume, predictor, box))


def _with_scaling(opened: Opened) -> Opened:
    """With the statistics that the model's own scaling needs, where it has one and the user did not choose another."""
    own = opened.predictor.capabilities.own_scaling
    if own is None:
        return opened
    measures = own.measures
    if needs_slices(opened.source, measures, opened.predictor.footprint.flat):
        slices = ScaledSlices(opened.source, measures, str(opened.options.nan))
        return replace(opened, source=slices, predictor=own.done)
    return replace(opened, options=replace(opened.options, normalise=measures.rule))


def open_model(model: Any, options: Options, trust: bool, source: Source) -> Predictor:
    """The predictor of a model's name, file or module; a predictor is taken as it is."""
    if isinstance(model, Predictor) and not hasattr(model, "parameters"):
        return model
    given = _predictor_options(options, source)
    if not isinstance(model, (str, Path)):
        return _open_predictor(model, options.weights, trust, given)  # a module may have learnt since the last call
    return _kept_predictor(model, options.weights, trust, given, (_stamp(model), _stamp(options.weights)))


def _predictor_options(options: Options, source: Source) -> Given:
    """What `tiler.models.PredictorOptions` is to be made of."""
    names = ("device", "precision", "backend", "threads", "head", "classes", "kind", "dtype", "average", "normalise",
             "tiling")
    chosen = {name: getattr(options, name) for name in names}
    if options.kind == "instances":
        chosen |= {"kind": "labels", "dtype": None}
    if str(options.normalise).startswith("volume"):
        parse_rule(str(options.normalise))
        chosen["normalise"] = "volume"
    if options.resize is not None:
        chosen["resize"] = _slice_sizes(options.resize)
    if options.average == "rot7":
        chosen["slice_shape"] = source.shape[2:]
    if isinstance(options.classes, list):
        chosen["classes"] = tuple(options.classes)
    return tuple((name, value) for name, value in chosen.items() if value is not None)


def _slice_sizes(value: Any) -> tuple[int, int]:
    """``(y, x)`` from one or two sizes."""
    sizes = parse_sizes(value, "--resize")
    if sizes is None or len(sizes) > 2:
        raise PlanError(f"a slice is resized to one or two sizes, got {value!r} (--resize)")
    return sizes[0], sizes[-1]


@lru_cache(maxsize=1)
def _kept_predictor(model: Any, weights: Any, trust: bool, given: Given, stamps: tuple[object, ...]) -> Predictor:
    """Kept, so that several inputs share one network, as long as its files are those that were read."""
    return _open_predictor(model, weights, trust, given)


def _open_predictor(model: Any, weights: Any, trust: bool, given: Given) -> Predictor:
    """Torch is imported here and nowhere else."""
    models = importlib.import_module("tiler.models.predictor.open_predictor")
    options = models.PredictorOptions(**dict(given))
    predictor: Predictor = models.open_predictor(model, weights=weights, trust=trust, options=options)
    return predictor


def _stamp(file: Any) -> tuple[int, int] | None:
    """Time and size of a file that a model is made of, None where it is none."""
    try:
        status = Path(str(file).split(":")[0]).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _settings(options: Options, region: Box | None) -> Settings:
    workers = parse_count(options.workers, "--workers")
    return Settings(
        tile=parse_sizes(options.tile, "--tile"), block=parse_sizes(options.block, "--block"),
        batch=parse_count(options.batch, "--batch"), memory=_memory(options),
        workers=workers, readers=None if options.executor == "dask" else workers, region=region,
        border=options.border, nan=str(options.nan))  # type: ignore[arg-type]  # checked in with_defaults


def _memory(options: Options) -> int | None:
    """For one process; None leaves it to the plan."""
    memory, processes = parse_bytes(options.memory), _processes(options)
    if processes == 1:
        return memory
    return (memory or available_memory() // 2) // processes


def _extra(options: Options) -> Json:
    """What comes after the model and can change the result."""
    extra: dict[str, Any] = {"kind": options.kind, "normalise": options.normalise, "ngff": options.ngff}
    if options.kind == "instances":
        extra |= {"min_size": options.min_size, "instance_dtype": options.dtype or INSTANCE_TYPES[0]}
    return extra


def _check_choice(option: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        known = ", ".join(choice for choice in choices if choice)
        raise PlanError(f"{value!r} is not one of {known} ({option})")


def _check_time(source: Source, predictor: Predictor) -> None:
    axes, sizes = source.calibration.axes, source.calibration.sizes
    if "t" in axes and sizes[axes.index("t")] > 1 and not predictor.footprint.flat:
        raise PlanError(f"{source.name} has {sizes[axes.index('t')]} time points, the network takes volumes: "
                        "choose one with --roi t=N")


def describe_source(source: Any) -> str:
    """A path as absolute text, anything else as its type: enough to find it again, or to say that one cannot."""
    if not isinstance(source, (str, Path, Address)):
        return f"<{type(source).__name__}>"
    if is_address(source):
        return str(source)
    scheme = PRECOMPUTED if str(source).startswith(PRECOMPUTED) else ""
    return scheme + str(Path(str(source).removeprefix(scheme)).absolute())


def describe_model(model: Any) -> str:
    """A name as it is, a file as an absolute path, a module in memory as its type."""
    if not isinstance(model, (str, Path)):
        return f"<{type(model).__name__}>"
    file, colon, factory = str(model).partition(":")
    package = any(Path(file).glob("*.y*ml")) if Path(file).is_dir() else False
    return f"{Path(file).absolute()}{colon}{factory}" if package or Path(file).is_file() else str(model)
