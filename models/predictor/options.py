"""Options of a predictor, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from tiler.errors import ModelError
from tiler.geometry import Footprint
from tiler.models.inference.backends import NAMES as BACKENDS
from tiler.models.loading.ensemble import MeanOf
from tiler.models.predictor.averaging import TURNS
from tiler.models.predictor.heads import ClassRule, Head
from tiler.models.predictor.scaling import fixed_scaling
from tiler.ports import Tiling

Kind = Literal["probabilities", "labels", "instances"]
OUTPUT_TYPES = ("float32", "float16", "uint8", "float64")


@dataclass(frozen=True, slots=True)
class PredictorOptions:
    """All that changes a result beside network and weights.

    Parameters
    ----------
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or several GPUs of one model, which share the
        work: ``"cuda:0,cuda:1"``.
    precision
        Number format of weights and activations: float32 (IEEE, never TF32), bfloat16, float16, float64; tf32 is
        float32 whose products CUDA devices round to TF32.
    backend
        ``"torch"``, ``"compile"``, ``"openvino"``, ``"onnxruntime"``, ``"onnxruntime:tensorrt"``, or ``"auto"`` for
        the fastest of them that is installed and gives torch's result, those excepted that compile.
    threads
        Processor threads of one forward call on the CPU; None takes as many as torch has when the predictor is opened.
    head
        ``"softmax"``, ``"sigmoid"`` or ``"none"``; None is soft-max for tiler's networks (sigmoid where they have
        one channel) and none for others.
    classes
        See `tiler.models.predictor.heads.choose`.
    kind
        ``"probabilities"``; ``"labels"`` and ``"instances"`` give uint8 class indices, of which the engine makes
        instances.
    dtype
        Type of probabilities: float32, float16, uint8 (``rint(255 p)``) or float64.
    ensemble
        Average over several weights: of their "probabilities", or of their "scores".
    average
        ``"none"``, ``"flip4"``, ``"rot4"``, ``"d4"`` or ``"rot7"``.
    normalise
        ``"weights"``, ``"volume"`` or ``"MEAN,STD"`` in grey values of the source.
    footprint
        Footprint of a network that cannot be traced; it is proved all the same, unless the network is one of tiler's.
    tiling
        ``"exact"``, ``"blend"`` (overlapping windows, averaged: an approximation), ``"whole"`` (every input in one
        piece); None is exact, and whole for networks whose output is no map.
    resize
        ``(y, x)`` that every input is resized to, and its result from, where ``tiling`` is whole.
    slice_shape
        ``(y, x)`` of the volume; needed for ``average="rot7"`` alone.
    """

    device: str = "auto"
    precision: str = "float32"
    backend: str = "torch"
    threads: int | None = None
    head: Head | None = None
    classes: ClassRule = None
    kind: Kind = "probabilities"
    dtype: str = "float32"
    ensemble: MeanOf = "probabilities"
    average: str = "none"
    normalise: str = "weights"
    footprint: Footprint | None = None
    slice_shape: tuple[int, int] | None = None
    tiling: Tiling | None = None
    resize: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _one_of("backend", self.backend, BACKENDS, "--backend")
        _one_of("head", self.head, (None, *get_args(Head)), "--head")
        _one_of("kind of output", self.kind, get_args(Kind), "--as")
        _one_of("output type", self.dtype, OUTPUT_TYPES, "--dtype")
        _one_of("average", self.average, (*TURNS, "rot7"), "--average")
        _one_of("way of tiling", self.tiling, (None, *get_args(Tiling)), "--tiling")
        if self.resize is not None and min(self.resize) < 1:
            raise ModelError(f"an input is resized to at least one voxel, got {self.resize} (--resize)")
        if self.threads is not None and self.threads < 1:
            raise ModelError(f"a forward call needs at least one thread, got {self.threads}")
        if self.average == "rot7" and self.slice_shape is None:
            raise ModelError("seven rotations resample whole slices: the predictor must be told the volume's "
                             "slice shape (slice_shape), or use --average d4")
        fixed_scaling(self.normalise)


def _one_of(what: str, value: Any, allowed: tuple[Any, ...], option: str) -> None:
    if value not in allowed:
        known = ", ".join(str(item) for item in allowed if item is not None)
        raise ModelError(f"{value!r} is no {what}: it is one of {known} ({option})")
