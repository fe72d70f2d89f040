"""The first step of a predictor: scale grey values as in training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from tiler.errors import ModelError
from tiler.models.loading.processing_steps import Measured, Values
from tiler.models.loading.weights import Normalisation

AS_IT_IS = Normalisation(1.0, (0.0,), (1.0,))


@dataclass(frozen=True, slots=True)
class Scaling:
    """``(n, c, [z], y, x)`` grey values to ``(value / scale - mean) / std``, channel by channel.

    Parameters
    ----------
    rule
        ``"weights"``, ``"volume"`` or ``"MEAN,STD"``, as the user gave it.
    values
        The constants; None leaves grey values unchanged, or waits for the statistics of the volume.
    measured
        How the model scales its input by the input's own statistics; None if it does not.
    standardised
        Whether the weights were trained on grey values minus their mean, divided by their standard deviation.
    """

    rule: str
    values: Normalisation | None
    measured: Measured | None = None
    standardised: bool = False

    @property
    def measures(self) -> Measured | None:
        """The model's own scaling, unless the user asks for another."""
        return self.measured if self.rule == "weights" else None

    @property
    def waits(self) -> bool:
        """Whether the statistics of the volume are still missing."""
        return self.values is None and (self.rule == "volume" or self.measures is not None)

    @property
    def identity(self) -> Any:
        """JSON for the identity of a predictor."""
        if self.values is None:
            return "volume" if self.waits else "none"
        return {"scale": self.values.scale, "mean": list(self.values.mean), "std": list(self.values.std)}

    @property
    def expects(self) -> tuple[Values, Values] | None:
        """Mean and standard deviation of the training data in grey values, if the weights' own scaling is used."""
        if self.rule != "weights" or self.values is None or self.measured is not None:
            return None
        mean, std = (tuple(self.values.scale * value for value in values)
                     for values in (self.values.mean, self.values.std))
        return mean, std

    def with_statistics(self, mean: Values, std: Values, channels: int) -> Scaling:
        """The same step with the statistics of a volume with that number of channels."""
        if self.measured is not None:
            mean, std = self.measured.scaling(mean, std)
        # A channel of one grey value has no contrast to scale.
        values = Normalisation(1.0, tuple(mean), tuple(value or 1.0 for value in std))
        return replace(self, values=values.checked(channels))

    def done(self) -> Scaling:
        """The step for inputs that are already scaled."""
        return replace(self, values=AS_IT_IS)

    def check(self) -> None:
        """Raise `ModelError` if statistics are missing."""
        if self.waits:
            raise ModelError("the volume's mean and standard deviation are not known yet: a predictor with "
                             "`normalise=volume` runs after with_statistics")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.values is None:
            return x
        mean, std = (
            torch.tensor(values, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 2))
            for values in (self.values.mean, self.values.std)
        )
        return x.div(self.values.scale).sub_(mean).div_(std)  # x may be the caller's own array


def fixed_scaling(rule: str) -> Normalisation | None:
    """Parse ``"MEAN,STD"``; None for named rules.

    Raises
    ------
    ModelError
        If it is neither.
    """
    if rule in ("weights", "volume"):
        return None
    try:
        mean, std = (float(part) for part in rule.split(","))
    except ValueError:
        mean = std = float("nan")
    if not (np.isfinite(mean) and np.isfinite(std) and std > 0):
        raise ModelError(f"a normalisation is weights, volume or MEAN,STD with a positive STD, got {rule!r}",
                         option="normalise")
    return Normalisation(1.0, (mean,), (std,))
