"""Pre- and post-processing of a package, as steps of tiler.

The arithmetic follows bioimageio.core, which computed the published outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tiler.errors import ModelError
from tiler.models.loading.processing_steps import WHOLE_TYPES, Measured, Step, Values
from tiler.models.predictor.heads import Head

FIXED_EPSILON = 1e-6
"""Constant that bioimageio.core adds even to a fixed standard deviation."""


def preprocessing(described: Sequence[Any], axes: Sequence[str]) -> tuple[tuple[Step, ...], Measured | None]:
    """Steps before the network, and the scaling by statistics that comes before them.

    Parameters
    ----------
    described
        Preprocessing as bioimageio.spec describes it.
    axes
        Ids of the input's spatial axes and of its channel axis.

    Raises
    ------
    ModelError
        If a step is unknown, or needs statistics of anything but the plain input.
    """
    steps: list[Step] = []
    measured = None
    for each in described:
        if each.id not in MEASURES:
            steps += _step(each)
            continue
        if measured is not None:
            raise ModelError(f"the package scales by statistics twice, the second time by {each.id}: tiler takes those "
                             "of its input alone", option="model")
        measured = _measured(each, axes, _gain(each.id, steps))
        steps = []
    return tuple(steps), measured


def postprocessing(described: Sequence[Any]) -> tuple[tuple[Step, ...], Head | None]:
    """Steps after the network, and its head if that is the only step.

    Raises
    ------
    ModelError
        If a step is unknown, or needs the whole output.
    """
    for each in described:
        if each.id in MEASURES:
            raise ModelError(f"the package applies {each.id} to the whole output, which tiler cannot do block by "
                             "block: use a package without it", option="model")
    steps = tuple(step for each in described for step in _step(each))
    if len(steps) == 1 and steps[0].kind in ("sigmoid", "softmax"):
        return (), steps[0].kind  # type: ignore[return-value]
    return steps, "none" if steps else None


def _measured(described: Any, axes: Sequence[str], gain: Values) -> Measured:
    kwargs = described.kwargs
    chosen = None if kwargs.axes is None else {str(axis) for axis in kwargs.axes}
    *space, channel = axes
    if chosen is not None and not set(space) <= chosen:
        raise ModelError(f"the package applies {described.id} over {sorted(chosen)} alone: statistics of all axes in "
                         f"space, {space}, are needed", option="model")
    percentiles = MEASURES[described.id](kwargs)
    joint = chosen is None or channel in chosen
    return Measured(percentiles, tuple(kwargs.eps / each for each in gain), joint,
                    each_input=chosen is not None and "batch" not in chosen)


def _percentiles(kwargs: Any) -> tuple[float, float]:
    if kwargs.reference_tensor is not None:
        raise ModelError(f"the package scales by statistics of the tensor {kwargs.reference_tensor}: tiler takes those "
                         "of its input alone", option="model")
    return float(kwargs.min_percentile), float(kwargs.max_percentile)


MEASURES: dict[str, Callable[[Any], tuple[float, float] | None]] = {
    "zero_mean_unit_variance": lambda kwargs: None,
    "scale_range": _percentiles,
}


def _gain(name: str, steps: Sequence[Step]) -> Values:
    """Factor by which the steps scale differences; statistics cancel the rest of them."""
    gain: Values = (1.0,)
    for step in steps:
        given = dict(step.arguments)
        if step.kind not in ("linear", "standard"):
            raise ModelError(f"the package applies {name} after {step.kind}: tiler takes statistics of its input "
                             "alone", option="model")
        factors = given["gain"] if step.kind == "linear" else tuple(1 / std for std in given["std"])
        length = max(len(gain), len(factors))
        gain = tuple(a * b for a, b in zip(_of(gain, length), _of(factors, length), strict=True))
    if min(gain) <= 0:
        raise ModelError(f"the package turns grey values around before {name}, which tiler cannot undo", option="model")
    return gain


def _of(values: Values, length: int) -> Values:
    return values * length if len(values) == 1 else values


def _step(described: Any) -> list[Step]:
    """At most one step."""
    if described.id not in STEPS:
        raise ModelError(f"the package applies {described.id}, which tiler does not know: it knows "
                         f"{', '.join([*STEPS, *MEASURES])}", option="model")
    kwargs = getattr(described, "kwargs", None)
    axis = getattr(kwargs, "axis", None)
    if axis is not None and str(axis) not in ("channel", "c"):
        raise ModelError(f"the package applies {described.id} along {axis}: tiler does so along channels",
                         option="model")
    return STEPS[described.id](kwargs)


def _values(given: float | Sequence[float]) -> Values:
    return tuple(map(float, given)) if isinstance(given, Sequence) else (float(given),)


def _linear(kwargs: Any) -> list[Step]:
    gain, offset = _values(kwargs.gain), _values(kwargs.offset)
    return [Step("linear", (("gain", gain), ("offset", offset)))]


def _standard(kwargs: Any) -> list[Step]:
    std = tuple(each + FIXED_EPSILON for each in _values(kwargs.std))
    return [Step("standard", (("mean", _values(kwargs.mean)), ("std", std)))]


def _clip(kwargs: Any) -> list[Step]:
    if kwargs.min_percentile is not None or kwargs.max_percentile is not None:
        raise ModelError("the package clips at percentiles, tiler clips at values", option="model")
    bounds = [None if bound is None or math.isinf(bound) else float(bound) for bound in (kwargs.min, kwargs.max)]
    return [Step("clip", tuple(zip(("low", "high"), bounds, strict=True)))]


def _cast(kwargs: Any) -> list[Step]:
    """Cast; ignored between floating-point types, because the user chooses the precision."""
    if kwargs.dtype in ("float32", "float64"):
        return []
    if kwargs.dtype not in WHOLE_TYPES:
        raise ModelError(f"the package casts to {kwargs.dtype}: tiler casts to floats and integers of up to 32 bits",
                         option="model")
    return [Step("whole", (("dtype", kwargs.dtype),))]


STEPS: dict[str, Callable[[Any], list[Step]]] = {
    "ensure_dtype": _cast,
    "scale_linear": _linear,
    "fixed_zero_mean_unit_variance": _standard,
    "clip": _clip,
    "binarize": lambda kwargs: [Step("binary", (("threshold", _values(kwargs.threshold)),))],
    "sigmoid": lambda kwargs: [Step("sigmoid")],
    "softmax": lambda kwargs: [Step("softmax")],
}
