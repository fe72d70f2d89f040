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
from tiler.ports import Execution, Tiling

Kind = Literal["probabilities", "labels", "mask", "instances"]
OUTPUT_TYPES = ("float32", "float16", "uint8", "float64")


@dataclass(frozen=True, slots=True)
class PredictorOptions:
    """All options that change a result, besides the network and its weights.

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
        the fastest installed one that gives torch's result, except those that compile.
    threads
        Number of CPU threads of one forward call; None means torch's number when the predictor is opened.
    head
        ``"softmax"``, ``"sigmoid"`` or ``"none"``; None means soft-max for tiler's networks (sigmoid if they have
        one channel) and no head for others.
    classes
        See `tiler.models.predictor.heads.choose`.
    kind
        ``"probabilities"``, ``"labels"``, ``"mask"`` or ``"instances"``. Both labels and instances give uint8 class
        indices; the engine turns them into instances.
    threshold
        For a mask: lowest probability of its class; None for the more likely of two classes, or 0.5 for one; "auto" for
        the best one by the weights.
    dtype
        Dtype of probabilities: float32, float16, uint8 (``rint(255 p)``) or float64.
    ensemble
        Whether several weights are averaged as "probabilities" or as "scores".
    average
        ``"none"``, ``"flip4"``, ``"rot4"``, ``"d4"`` or ``"rot7"``.
    normalise
        ``"weights"``, ``"volume"`` or ``"MEAN,STD"`` in grey values of the source.
    footprint
        Footprint of a network that cannot be traced; it is still proved, unless the network is one of tiler's own.
    tiling
        ``"exact"``, ``"blend"`` (overlapping windows, averaged: an approximation), ``"whole"`` (every input in one
        piece); None means exact, or whole for networks whose output is not a map.
    execution
        ``"tiles"``, ``"stages"``, or ``"auto"`` for tiles if they are exact, else stages.
    resize
        ``(y, x)`` to which every input is resized, and from which its result is resized back; for whole tiling only.
    slice_shape
        ``(y, x)`` of the volume; needed only for ``average="rot7"``.
    rescale
        ``(z, y, x)``: voxels of the network for one voxel of the input; "auto" makes them as large as in training, and
        None leaves them.
    voxel_size
        ``(z, y, x)`` of the volume's voxels in nanometres; needed only for ``rescale="auto"``.
    """

    device: str = "auto"
    precision: str = "float32"
    backend: str = "torch"
    threads: int | None = None
    head: Head | None = None
    classes: ClassRule = None
    kind: Kind = "probabilities"
    threshold: float | str | None = None
    dtype: str = "float32"
    ensemble: MeanOf = "probabilities"
    average: str = "none"
    normalise: str = "weights"
    footprint: Footprint | None = None
    slice_shape: tuple[int, int] | None = None
    tiling: Tiling | None = None
    execution: str = "auto"
    resize: tuple[int, int] | None = None
    rescale: tuple[float, float, float] | Literal["auto"] | None = None
    voxel_size: tuple[float | None, float, float] | None = None

    def __post_init__(self) -> None:
        _one_of("backend", self.backend, BACKENDS, "backend")
        _one_of("head", self.head, (None, *get_args(Head)), "head")
        _one_of("kind of output", self.kind, get_args(Kind), "kind")
        _one_of("output type", self.dtype, OUTPUT_TYPES, "dtype")
        _one_of("average", self.average, (*TURNS, "rot7"), "average")
        _one_of("way of tiling", self.tiling, (None, *get_args(Tiling)), "tiling")
        _one_of("way of execution", self.execution, ("auto", *get_args(Execution)), "execution")
        if self.resize is not None and min(self.resize) < 1:
            raise ModelError(f"an input is resized to at least one voxel, got {self.resize}", option="resize")
        if self.rescale is not None and (self.average == "rot7" or self.resize is not None):
            raise ModelError("inputs are rescaled, or they are resized (`resize`) or turned by any angle "
                             "(`average=rot7`): leave one of them out", option="rescale")
        if self.threads is not None and self.threads < 1:
            raise ModelError(f"a forward call needs at least one thread, got {self.threads}")
        if self.average == "rot7" and self.slice_shape is None:
            raise ModelError("seven rotations resample whole slices: the predictor must be told the volume's "
                             "slice shape (slice_shape), or use `average=d4`")
        fixed_scaling(self.normalise)


def _one_of(what: str, value: Any, allowed: tuple[Any, ...], option: str) -> None:
    if value not in allowed:
        known = ", ".join(str(item) for item in allowed if item is not None)
        raise ModelError(f"{value!r} is no {what}: it is one of {known}", option=option)
