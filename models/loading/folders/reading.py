"""JSON of the folders, and networks whose values are the mean of several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError


def read_json(path: Path) -> Mapping[str, Any]:
    """An object in a JSON file.

    Raises
    ------
    ModelError
        If the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {' '.join(str(error).split())}", option="model") from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} holds a {type(content).__name__}, an object with names is needed", option="model")
    return content


def need(content: Mapping[str, Any], name: str, path: Path) -> Any:
    """A required value of an object."""
    if name not in content:
        raise ModelError(f"{path} has no {name!r}: it is damaged, or of a version that tiler does not read",
                         option="model")
    return content[name]


class MeanOfScores(nn.Module):
    """The mean of the scores of several networks, before any head."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *rest = self.members
        total: torch.Tensor = first(x)
        for member in rest:
            total = total + member(x)
        return total / len(self.members)
