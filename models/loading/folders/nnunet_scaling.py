"""Translate nnU-Net's normalisation of images to tiler's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiler.errors import ModelError
from tiler.models.loading.processing_steps import Measured, Step
from tiler.models.loading.weights import Normalisation


@dataclass(frozen=True, slots=True)
class Scaled:
    """A normalisation.

    Parameters
    ----------
    normalisation
        Normalisation by constants.
    measured
        Normalisation by statistics of the volume.
    steps
        Further steps before the network.
    """

    normalisation: Normalisation | None = None
    measured: Measured | None = None
    steps: tuple[Step, ...] = ()


def scaling_of(configuration: Mapping[str, Any], plans: Mapping[str, Any], channels: int, name: str) -> Scaled:
    """The normalisation of a configuration.

    Raises
    ------
    ModelError
        If channels are normalised in different ways, or in a way that tiler does not support.
    """
    schemes = {str(each) for each in configuration.get("normalization_schemes", ["ZScoreNormalization"])}
    if len(schemes) > 1:
        raise ModelError(f"{name} normalises its channels in different ways ({', '.join(sorted(schemes))}): normalise "
                         "them yourself and give `normalise=0,1`", option="model")
    scheme = schemes.pop()
    if scheme == "CTNormalization":
        return _ct(plans, channels, name)
    known = {
        "ZScoreNormalization": Scaled(measured=Measured(None, (0.0,), each_input=False)),
        "NoNormalization": Scaled(),
        "RescaleTo01Normalization": Scaled(measured=Measured((0.0, 100.0), (0.0,), each_input=False)),
        "RGBTo01Normalization": Scaled(Normalisation(255.0, (0.0,), (1.0,))),
    }
    if scheme not in known:
        raise ModelError(f"{name} normalises by {scheme}, tiler knows CTNormalization, {', '.join(known)}: normalise "
                         "the images yourself and give `normalise=0,1`", option="model")
    return known[scheme]


def _ct(plans: Mapping[str, Any], channels: int, name: str) -> Scaled:
    """Clip to percentiles of the training data's foreground, then scale by its mean and standard deviation."""
    found = plans.get("foreground_intensity_properties_per_channel", {})
    properties = [found.get(str(channel)) for channel in range(channels)]
    if any(each is None for each in properties):
        raise ModelError(f"{name} states no foreground_intensity_properties_per_channel for each channel",
                         option="model")
    mean, std = (tuple(float(each[key]) for each in properties) for key in ("mean", "std"))
    std = tuple(max(value, 1e-8) for value in std)
    low, high = (tuple((float(each[key]) - m) / s for each, m, s in zip(properties, mean, std, strict=True))
                 for key in ("percentile_00_5", "percentile_99_5"))
    if len(set(low)) > 1 or len(set(high)) > 1:
        raise ModelError(f"{name} clips its channels at different values: clip them yourself and give `normalise=0,1`",
                         option="model")
    step = Step("clip", (("low", low[0]), ("high", high[0])))
    return Scaled(Normalisation(1.0, mean, std), None, (step,))
