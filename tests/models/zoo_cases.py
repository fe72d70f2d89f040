"""Narrow copies of the registered networks, and the one-pass result to compare the engine with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import tiler
from tiler.geometry import Footprint
from tiler.models import WeightsCard, registry, save_weights
from tiler.models.probe import derive
from tiler.models.probe.proof import random_copy

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


def one_pass(module: nn.Module, volume: np.ndarray, footprint: Footprint, border: str) -> np.ndarray:
    """``(k, y, x)`` float64 scores of a ``(c, y, x)`` image, by numpy and torch alone."""
    sizes, offsets, widths = volume.shape[1:], [], []
    for size, reach in zip(sizes, footprint.axes[1:], strict=True):
        low = reach.low if border == "mirror" else 0
        surplus = (reach.low + reach.high - low - size) % reach.stride  # to the class of the legal tiles
        while border == "mirror" and surplus < reach.high:
            surplus += reach.stride
        widths.append((low, surplus))
        offsets.append(low - reach.shrink_low if low else 0)
    image = np.pad(volume, [(0, 0), *widths], mode="reflect")[None]
    with torch.inference_mode():
        result = module.double()(torch.from_numpy(image).double())[0].numpy()
    return result[(slice(None), *(slice(a, a + size) for a, size in zip(offsets, sizes, strict=True)))]


def assert_tiled_is_whole(
    folder: Path, name: str, module: nn.Module, size: tuple[int, int], strides: tuple[int, ...], border: str
) -> None:
    """The engine with tiles of so many strides gives the scores of one pass."""
    channels = module.arguments["in_channels"]
    volume = np.random.default_rng(3).normal(size=(channels, *size)).astype("f4")
    footprint = derive(module, channels).footprint
    weights = saved(folder, name, module)
    expected = one_pass(module, volume, footprint, border)
    assert expected.std() > 0.01
    for cores in strides:
        tile = footprint.covering((1, *(cores * stride for stride in footprint.stride[1:])))
        found = tiler.segment(volume, name, axes="cyx", weights=weights, tile=tile, border=border, head="none",
                              classes="all", device="cpu", precision="float64", dtype="float64", threads=1)
        found = np.asarray(found).reshape(expected.shape)
        assert np.abs(found - expected).max() <= TOLERANCE * np.ptp(expected), (tile, border)
