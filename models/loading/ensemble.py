"""Several weights of one network as one network: the mean of their probabilities, or of their scores.

The network returns the mean probability p as scores from which the head computes p again: log p for a soft-max,
log p - log(1 - p) for a sigmoid. Heads, classes, averages and tiles then work as for any network, and each voxel is
read once.
For two members with p = 0.9 and p = 0.5 a sigmoid sees log(0.7 / 0.3) = 0.847, and 1 / (1 + exp(-0.847)) = 0.7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from tiler.errors import ModelError, WeightsError
from tiler.models.loading.build_recipes import Recipe
from tiler.models.loading.loaded_model import LoadedModel
from tiler.models.predictor.heads import Head, probabilities

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
"""Pattern of weights files in a folder."""

MeanOf = Literal["probabilities", "scores"]
Load = Callable[[str | Path], LoadedModel]


class Ensemble(nn.Module):
    """From ``(n, c, [z], y, x)`` to scores ``(n, k, [z], y, x)`` that represent the mean of all members.

    Parameters
    ----------
    members
        Networks with equal inputs and outputs.
    head
        Function that turns their scores into probabilities; "none" averages the scores.
    """

    def __init__(self, members: Sequence[nn.Module], head: Head) -> None:
        super().__init__()
        self.members, self.head = nn.ModuleList(members), head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = probabilities(self.members[0](x), self.head)
        for member in self.members[1:]:
            mean = mean + probabilities(member(x), self.head)
        mean = mean / len(self.members)
        if self.head == "none":
            return mean
        return mean.log() if self.head == "softmax" else mean.log() - (1 - mean).log()


@dataclass(frozen=True, slots=True)
class EnsembleRecipe:
    """Builds the members and combines them."""

    members: tuple[Recipe, ...]
    head: Head

    def build(self) -> nn.Module:
        return Ensemble([member.build() for member in self.members], self.head)

    def meta(self) -> nn.Module:
        return Ensemble([member.meta() for member in self.members], self.head)


def members_of(weights: object) -> tuple[str | Path, ...]:
    """The weights files that the user names: one, several, or all in a folder; empty if the user names none.

    Raises
    ------
    WeightsError
        If the same file is given twice.
    """
    if weights is None:
        return ()
    given = tuple(weights) if isinstance(weights, (tuple, list)) else (weights,)
    files = [each for item in given for each in (_inside(Path(item)) or [item])]
    if len({str(Path(file).resolve()) for file in files}) < len(files):
        raise WeightsError(f"each member of an ensemble is another file, got {', '.join(map(str, files))}",
                           option="weights")
    return tuple(files)


def _inside(path: Path) -> list[Path]:
    return sorted(file for file in path.glob("*") if file.suffix in SUFFIXES) if path.is_dir() else []


def load_ensemble(members: Sequence[str | Path], load: Load, head: Head | None, mean_of: MeanOf) -> LoadedModel:
    """One network that is the mean of several.

    Parameters
    ----------
    members
        Weights files, at least two.
    load
        Function that loads the network with one of the files.
    head
        The user's choice; None means the model's own head.
    mean_of
        Whether to average probabilities or scores.

    Raises
    ------
    ModelError
        If probabilities are to be averaged and the head that computes them is unknown.
    WeightsError
        If the members differ in anything but their values.
    """
    loaded = [load(member) for member in members]
    first = loaded[0]
    for member, other in zip(members[1:], loaded[1:], strict=True):
        _check_alike(members[0], first, member, other)
    between: Head = "none" if mean_of == "scores" else _head_of(first, head)
    identity = {**first.identity, "ensemble": [dict(each.identity) for each in loaded], "mean of": mean_of}
    # Each member's identity holds the hash of its values; the ensemble has no file of its own.
    return replace(first, recipe=EnsembleRecipe(tuple(each.recipe for each in loaded), between), identity=identity,
                   values=None)


def _head_of(model: LoadedModel, asked: Head | None) -> Head:
    head = asked or model.head or (model.registered and ("softmax" if len(model.classes or ()) > 1 else "sigmoid"))
    if not head:
        raise ModelError("it is not known how the scores of this network become probabilities, whose mean was asked "
                         "for: say `head=softmax` or sigmoid, or none where they are probabilities already")
    return head


def _check_alike(file: str | Path, one: LoadedModel, other_file: str | Path, other: LoadedModel) -> None:
    for what in ("in_channels", "ndim", "classes", "normalisation", "head", "steps", "measured"):
        if getattr(one, what) != getattr(other, what):
            raise WeightsError(f"{file} and {other_file} differ in {what.replace('_', ' ')}: {getattr(one, what)} and "
                               f"{getattr(other, what)}; members of an ensemble differ in their values alone",
                               option="weights")
