"""Narrow copies of the registered networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from tiler.models import WeightsCard, save_weights
from tiler.models.aten.random_weights import random_copy
from tiler.models.zoo import registry

TOLERANCE = 1e-10
"""Largest difference as a share of the output's range."""


def on_meta(name: str, **arguments: Any) -> nn.Module:
    with torch.device("meta"):
        return registry.build(name, **arguments)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def varied(name: str, seed: int = 0, **arguments: Any) -> nn.Module:
    """The network in float32 with He-normal weights in every layer and running statistics that are not 0 and 1."""
    return random_copy(registry.build(name, **arguments), seed).float()


def saved(folder: Path, name: str, module: nn.Module) -> Path:
    path = folder / f"{name}.safetensors"
    classes = tuple(f"class {index}" for index in range(module.arguments["classes"]))
    save_weights(path, module.state_dict(), WeightsCard(name, module.arguments, classes, None, "none", "none"))
    return path
