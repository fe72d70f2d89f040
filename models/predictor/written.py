"""The last step of a predictor: from the values of all classes to what is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from tiler.models.predictor import heads
from tiler.ports import Meaning


class Written(Protocol):
    """``(n, k, *size)`` values of all classes to ``(n, channels, *size)`` in the output's type.

    Attributes
    ----------
    kind
        "probabilities", "labels" or "instances", as the user has it.
    meaning
        See `tiler.ports.Capabilities`.
    names
        Of the channels that go in.
    classes
        Names of the channels that come out.
    dtype
        Of the result.
    """

    @property
    def kind(self) -> str: ...
    @property
    def meaning(self) -> Meaning: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def dtype(self) -> np.dtype[np.generic]: ...

    def __call__(self, values: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class Probabilities:
    """Some of the classes, rounded to the output's type.

    Parameters
    ----------
    names
        Of all classes.
    chosen
        Indices of those that are given out.
    dtype
        float16, float32, float64, or uint8 for ``rint(255 p)``.
    """

    names: tuple[str, ...]
    chosen: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def kind(self) -> str:
        return "probabilities"

    @property
    def meaning(self) -> Meaning:
        return "probabilities"

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.names[index] for index in self.chosen)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return heads.quantise(values[:, list(self.chosen)], self.dtype)


@dataclass(frozen=True, slots=True)
class Labels:
    """The index of the most probable class, uint8.

    Parameters
    ----------
    names
        Of all classes.
    kind
        "labels", or "instances" where objects are made of them.
    """

    names: tuple[str, ...]
    kind: str = "labels"

    @property
    def meaning(self) -> Meaning:
        return "labels"

    @property
    def classes(self) -> tuple[str, ...]:
        return (self.kind,)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return np.dtype(np.uint8)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return heads.labels(values)
