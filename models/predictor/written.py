"""The last step of a predictor: from the values of all classes to what is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from tiler.errors import ModelError
from tiler.models.predictor import heads
from tiler.models.predictor.heads import ClassRule, Head
from tiler.ports import KINDS, Meaning

THRESHOLD = 0.5
"""From which probability on a voxel belongs to a class."""
MOST = 256
"""Classes that uint8 can number."""


class Written(Protocol):
    """``(n, k, *size)`` values of all classes to ``(n, channels, *size)`` in the output's type.

    Attributes
    ----------
    kind
        "probabilities", "labels" or "instances", as the user has it.
    meaning
        See `tiler.ports.Capabilities`.
    channels
        How many go in.
    names
        Names of all classes; of labels, what each value means.
    classes
        Names of the channels that come out.
    dtype
        Type of the result.
    """

    @property
    def kind(self) -> str: ...
    @property
    def meaning(self) -> Meaning: ...
    @property
    def channels(self) -> int: ...
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
        Names of all classes.
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
    def channels(self) -> int:
        return len(self.names)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.names[index] for index in self.chosen)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return heads.quantise(values[:, list(self.chosen)], self.dtype)


@dataclass(frozen=True, slots=True)
class Labels:
    """The index of the most probable class, uint8, of classes that exclude each other.

    Parameters
    ----------
    names
        Names of all classes.
    kind
        "labels", or "instances" where objects are made of them.
    """

    names: tuple[str, ...]
    kind: str = "labels"

    @property
    def channels(self) -> int:
        return len(self.names)

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


@dataclass(frozen=True, slots=True)
class OneClass:
    """1 where one class is more probable than 0.5, else 0, uint8: whatever the other classes say.

    Parameters
    ----------
    name
        Name of the class.
    index
        Index of its channel.
    channels
        How many go in.
    kind
        "labels", or "instances" where objects are made of them.
    """

    name: str
    index: int
    channels: int
    kind: str = "labels"

    @property
    def meaning(self) -> Meaning:
        return "labels"

    @property
    def names(self) -> tuple[str, ...]:
        return f"not {self.name}", self.name

    @property
    def classes(self) -> tuple[str, ...]:
        return (self.kind,)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return np.dtype(np.uint8)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return (values[:, self.index : self.index + 1] > THRESHOLD).to(torch.uint8)


@dataclass(frozen=True, slots=True)
class Values:
    """Knowledge about the values that a network gives.

    Parameters
    ----------
    names
        Names of all classes.
    head
        What follows its last layer; None where nobody says.
    ends
        What the network itself ends in: "softmax", "sigmoid" or "".
    """

    names: tuple[str, ...]
    head: Head | None
    ends: str = ""

    @property
    def exclusive(self) -> bool:
        """Whether a voxel belongs to one class alone, as far as is known: not where each class has its own sigmoid."""
        return (self.ends or self.head) != "sigmoid"

    def require_probabilities(self) -> None:
        """Raise `ModelError` where it is not known whether the values are probabilities."""
        if self.head is None and not self.ends:
            raise ModelError("it is not known whether this network gives probabilities, which uint8 output and a "
                             "threshold need: say --head softmax or sigmoid, or none if it ends in one of them")


def written_as(kind: str, values: Values, classes: ClassRule, dtype: str) -> Written:
    """Choose the last step by what the user wants.

    Parameters
    ----------
    kind
        "probabilities", "labels" or "instances".
    values
        Those of the network.
    classes
        See `tiler.models.predictor.heads.choose`; of labels, one class that is cut at 0.5.
    dtype
        Type of probabilities.

    Raises
    ------
    ModelError
        If the classes do not exist, or what would be written means nothing.
    """
    chosen = heads.choose(classes, values.names, values.head or "none")
    if KINDS[kind].ordered:
        if dtype == "uint8":
            values.require_probabilities()
        return Probabilities(values.names, chosen, np.dtype(dtype))
    if len(values.names) == 1 or (classes is not None and len(chosen) == 1):
        values.require_probabilities()
        return OneClass(values.names[chosen[0]], chosen[0], len(values.names), kind)
    if classes is not None:
        raise ModelError(f"{kind} are made of all classes, or of one that is cut at {THRESHOLD}: name one, or leave "
                         "out --classes")
    return _best(kind, values)


def _best(kind: str, values: Values) -> Labels:
    """The most probable class, where that means something."""
    if not values.exclusive:
        raise ModelError(f"{kind} need classes that exclude each other, and this network gives each class a sigmoid of "
                         f"its own: choose the one that is cut at {THRESHOLD} (--classes, one of "
                         f"{', '.join(values.names)}), or write probabilities (--as)")
    if len(values.names) > MOST:
        raise ModelError(f"labels are uint8, the network has {len(values.names)} classes: write probabilities (--as)")
    return Labels(values.names, kind)
