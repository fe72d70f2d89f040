"""From scores to written values: head, choice of classes, labels and dtype, all computed on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tiler.errors import ModelError
from tiler.options import Head

__all__ = ["Activation", "ClassRule", "Head", "check_numbers", "choose", "labels", "probabilities", "quantise"]

OVERSHOOT = 0.15
"""How far a probability that was resized may lie outside of 0 to 1; cubic kernels overshoot by up to an eighth."""

ClassRule = str | Sequence[int | str] | None


@dataclass(frozen=True, slots=True)
class Activation:
    """The function after the last layer of a network, as a step."""

    name: Head

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        return probabilities(scores, self.name)


def probabilities(scores: torch.Tensor, head: Head) -> torch.Tensor:
    """``(n, k, *size)`` float32, or float64 for float64 scores: the scores after the head."""
    scores = scores if scores.dtype == torch.float64 else scores.float()
    if head == "softmax":
        return scores.softmax(1)
    return scores.sigmoid() if head == "sigmoid" else scores


def labels(values: torch.Tensor) -> torch.Tensor:
    """``(n, 1, *size)`` uint8: the index of the highest of the ``k`` values of ``(n, k, *size)``."""
    return values.argmax(1, keepdim=True).to(torch.uint8)


def quantise(values: torch.Tensor, dtype: np.dtype) -> torch.Tensor:
    """Convert ``values`` to the output's dtype; a probability p becomes ``rint(255 p)`` in uint8.

    Raises
    ------
    ModelError
        If a finite value would become infinite, or is no probability and the output is uint8.
    """
    if dtype == np.uint8:
        _check_probabilities(values)
        return values.clamp(0, 1).mul(255).round().to(torch.uint8)
    written = values.to({"f2": torch.float16, "f4": torch.float32, "f8": torch.float64}[dtype.str[1:]])
    if written.element_size() < values.element_size() and bool((written.isinf() & values.isfinite()).any()):
        most = float(values[values.isfinite()].abs().max())
        raise ModelError(f"the network gives values up to {most:g}, {dtype.name} holds up to "
                         f"{float(np.finfo(dtype).max):g}: choose another type", option="dtype")
    return written


def _check_probabilities(values: torch.Tensor) -> None:
    """Networks that resize probabilities leave 0 to 1 a little, by no more than `OVERSHOOT`."""
    low, high = map(float, values.aminmax())
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise ModelError(f"the network gives values from {low:g} to {high:g}, uint8 holds probabilities from 0 to 1: "
                         "choose float32, or a `head`", option="dtype")


def check_numbers(values: torch.Tensor) -> torch.Tensor:
    """Values of which classes are made: NaN belongs to none.

    Raises
    ------
    ModelError
        If one is NaN.
    """
    if bool(values.isnan().any()):
        raise ModelError("the network gives NaN, of which no labels can be made: look at its values with "
                         "`kind=probabilities`", option="model")
    return values


def choose(rule: ClassRule, names: Sequence[str], head: Head) -> tuple[int, ...]:
    """Indices of the channels to keep.

    Parameters
    ----------
    rule
        ``"all"``, a name, an index, a comma-separated list, a sequence of names and indices, or None. None keeps
        all classes, except that of two classes it keeps only the second, whose complement is the first. Without a
        head the channels may not be probabilities, so None then keeps both.
    names
        Names of all channels.
    head
        Head of the network.

    Raises
    ------
    ModelError
        If a name or index does not exist.
    """
    everything = tuple(range(len(names)))
    if rule is None:
        return (1,) if len(names) == 2 and head == "softmax" else everything
    if rule == "all":
        return everything
    wanted = rule.split(",") if isinstance(rule, str) else rule
    chosen = tuple(_index(item, names) for item in wanted)
    if len(set(chosen)) != len(chosen) or not chosen:
        raise ModelError(f"each class can be chosen once, got {rule}", option="classes")
    return chosen


def _index(item: int | str, names: Sequence[str]) -> int:
    text = str(item).strip()
    if text in names:
        return list(names).index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    known = ", ".join(f"{index} {name}" for index, name in enumerate(names))
    raise ModelError(f"the network has no class {text!r}: it has {known}, or all", option="classes")
