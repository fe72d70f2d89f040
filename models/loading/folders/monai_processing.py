"""Pre- and post-processing of a MONAI bundle, as far as tiler supports it; a warning names the rest."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiler.models.loading.folders.nnunet_scaling import Scaled
from tiler.models.loading.processing_steps import Measured, Step
from tiler.models.loading.weights import Normalisation
from tiler.models.predictor.heads import Head

log = logging.getLogger(__name__)

READING = frozenset({"LoadImage", "EnsureChannelFirst", "EnsureType", "ToTensor", "CastToType", "AddChannel",
                     "AsChannelFirst", "ToDevice", "Identity"})
"""Transforms that load an image into memory, which tiler does itself."""


def processing_of(config: Mapping[str, Any], path: Path) -> Scaled:
    """The scaling of intensities; a warning names the transforms that tiler skips."""
    found, left_out = Scaled(), []
    for transform in _transforms(config.get("preprocessing")):
        name = str(transform.get("_target_", "?")).rpartition(".")[2]
        plain = name.removesuffix("d").removesuffix("D") if name not in READING else name
        scaled = _scaled(plain, transform)
        if scaled is not None and found == Scaled():
            found = scaled
        elif plain not in READING:
            left_out.append(name)
    if left_out:
        log.warning("%s asks for %s before its network, which tiler does not do: images are taken as they are", path,
                    ", ".join(left_out))
    return found


def _transforms(described: Any) -> list[Mapping[str, Any]]:
    listed = described.get("transforms", []) if isinstance(described, Mapping) else []
    return [each for each in listed if isinstance(each, Mapping) and not each.get("_disabled_")]


def _scaled(name: str, given: Mapping[str, Any]) -> Scaled | None:
    """A transform as a step of tiler; None if it is not a scaling, or not one that tiler supports."""
    if name == "ScaleIntensityRange":
        return _range(given)
    if name == "NormalizeIntensity" and not given.get("nonzero"):
        if "subtrahend" in given or "divisor" in given:
            return None
        joint = not given.get("channel_wise", False)
        return Scaled(measured=Measured(None, (0.0,), joint=joint, each_input=False))
    if name == "ScaleIntensity" and given.get("minv", 0.0) == 0.0 and given.get("maxv", 1.0) == 1.0 and (
            given.get("channel_wise") and not given.get("factor")):
        return Scaled(measured=Measured((0.0, 100.0), (0.0,), each_input=False))
    return None


def _range(given: Mapping[str, Any]) -> Scaled | None:
    """``(x - a_min) / (a_max - a_min) * (b_max - b_min) + b_min``, clipped on request."""
    ends = [given.get(key, default) for key, default in
            (("a_min", None), ("a_max", None), ("b_min", 0.0), ("b_max", 1.0))]
    if not all(isinstance(value, (int, float)) for value in ends):
        return None
    low, high, bottom, top = map(float, ends)
    if high <= low or top <= bottom:
        return None
    std = (high - low) / (top - bottom)
    steps = (Step("clip", (("low", bottom), ("high", top))),) if given.get("clip") else ()
    return Scaled(Normalisation(1.0, (low - bottom * std,), (std,)), None, steps)


def head_of(config: Mapping[str, Any]) -> Head | None:
    """The activation in the bundle's postprocessing; None if it has none."""
    for transform in _transforms(config.get("postprocessing")):
        if "Activations" in str(transform.get("_target_")):
            if transform.get("softmax") is True:
                return "softmax"
            if transform.get("sigmoid") is True:
                return "sigmoid"
    return None
