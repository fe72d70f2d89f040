"""The last step of a predictor: from the values of all classes to the values to write."""

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
"""Lowest probability at which a voxel belongs to a class."""
MOST = 256
"""Largest number of classes that uint8 can index."""


class Written(Protocol):
    """From ``(n, k, *size)`` values of all classes to ``(n, channels, *size)`` in the output's dtype.

    Attributes
    ----------
    kind
        "probabilities", "labels", "mask" or "instances", as the user gave it.
    meaning
        See `tiler.ports.Capabilities`.
    channels
        Number of input channels.
    names
        Names of all classes; for labels, the meaning of each value.
    classes
        Names of the output channels.
    dtype
        Dtype of the result.
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
    """Some of the classes, rounded to the output's dtype.

    Parameters
    ----------
    names
        Names of all classes.
    chosen
        Indices of the classes to return.
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
    """The uint8 index of the most probable class, for mutually exclusive classes.

    Parameters
    ----------
    names
        Names of all classes.
    kind
        "labels", or "instances" if the engine turns them into objects.
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
        return heads.labels(heads.check_numbers(values))


@dataclass(frozen=True, slots=True)
class OneClass:
    """uint8: 1 where the probability of one class exceeds a threshold, else 0, independent of the other classes.

    Parameters
    ----------
    name
        Name of the class.
    index
        Index of its channel.
    channels
        Number of input channels.
    kind
        "labels", or "instances" if the engine turns them into objects.
    threshold
        Lowest probability of the class.
    """

    name: str
    index: int
    channels: int
    kind: str = "labels"
    threshold: float = THRESHOLD

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
        chosen = heads.check_numbers(values[:, self.index : self.index + 1])
        return (chosen > self.threshold).to(torch.uint8)


@dataclass(frozen=True, slots=True)
class Mask:
    """uint8: 255 where labels of two classes are 1, which every program shows as white, and 0 elsewhere."""

    labels: Labels | OneClass

    @property
    def kind(self) -> str:
        return "mask"

    @property
    def meaning(self) -> Meaning:
        return "labels"

    @property
    def channels(self) -> int:
        return self.labels.channels

    @property
    def names(self) -> tuple[str, ...]:
        return self.labels.names

    @property
    def classes(self) -> tuple[str, ...]:
        return ("mask",)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return np.dtype(np.uint8)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return self.labels(values) * KINDS["mask"].step


@dataclass(frozen=True, slots=True)
class Values:
    """Meaning of the values that a network returns.

    Parameters
    ----------
    names
        Names of all classes.
    head
        Function after its last layer; None if unknown.
    ends
        Last operation of the network itself: "softmax", "sigmoid" or "".
    """

    names: tuple[str, ...]
    head: Head | None
    ends: str = ""

    @property
    def exclusive(self) -> bool:
        """Whether each voxel belongs to exactly one class, as far as is known; False if each class has a sigmoid."""
        return (self.ends or self.head) != "sigmoid"

    def require_probabilities(self) -> None:
        """Raise `ModelError` if it is unknown whether the values are probabilities."""
        if self.head is None and not self.ends:
            raise ModelError("it is not known whether this network gives probabilities, which uint8 output and a "
                             "threshold need: say `head=softmax` or sigmoid, or none if it ends in one of them")


def written_as(kind: str, values: Values, classes: ClassRule, dtype: str, threshold: float | None = None) -> Written:
    """Choose the last step from the user's options.

    Parameters
    ----------
    kind
        "probabilities", "labels", "mask" or "instances".
    values
        The network's values.
    classes
        See `tiler.models.predictor.heads.choose`; for labels, one class to threshold at 0.5.
    dtype
        Dtype of probabilities.
    threshold
        For a mask: lowest probability of its class.

    Raises
    ------
    ModelError
        If the classes do not exist, or the written values would have no meaning.
    """
    if kind == "mask":
        return Mask(_masked(values, classes, threshold))
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
                         "out `classes`")
    return _best(kind, values)


def _masked(values: Values, classes: ClassRule, threshold: float | None) -> Labels | OneClass:
    """Labels of two classes: of the network's own, or of one class and the rest."""
    if classes is None and len(values.names) == 2 and values.exclusive and threshold is None:
        return Labels(values.names)
    chosen = heads.choose(classes, values.names, values.head or "none")
    if len(chosen) > 1:
        raise ModelError(f"a mask shows one class, the network has {', '.join(values.names)}: name it",
                         option="classes")
    values.require_probabilities()
    (index,) = chosen
    return OneClass(values.names[index], index, len(values.names),
                    threshold=THRESHOLD if threshold is None else threshold)


def _best(kind: str, values: Values) -> Labels:
    """Labels of the most probable class, if that is meaningful for the network's values."""
    if not values.exclusive:
        raise ModelError(f"{kind} need classes that exclude each other, and this network gives each class a sigmoid of "
                         f"its own: choose the one that is cut at {THRESHOLD} (`classes`, one of "
                         f"{', '.join(values.names)}), or write probabilities", option="kind")
    if len(values.names) > MOST:
        raise ModelError(f"labels are uint8, the network has {len(values.names)} classes: write probabilities",
                         option="kind")
    return Labels(values.names, kind)
