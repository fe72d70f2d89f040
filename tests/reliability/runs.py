"""The runs that are killed: their networks, options and outputs."""

from __future__ import annotations

from typing import Any

NETWORKS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = torch.relu(self.first(x / 255.0))
        down = torch.relu(self.second(nn.functional.max_pool2d(x, 2)))
        up = nn.functional.interpolate(down, scale_factor=2)
        return torch.softmax(9 * self.last(torch.cat([x, up], 1)), 1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.mix = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.head = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x):
        x = self.stem(x / 255.0)
        x = x * torch.sigmoid(self.mix(nn.functional.adaptive_avg_pool2d(x, 1)))
        return torch.softmax(self.head(x), 1)
"""
SHAPE = (2, 45, 53)
COMMON: dict[str, Any] = {"threads": 1, "block": "20", "tune": False, "executor": "serial"}
OBJECTS: dict[str, Any] = {"kind": "instances"}

RUNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "zarr": ("out.zarr", "Net", {"executor": "threads"}),
    "zarr 2": ("out.zarr", "Net", {"ngff": "0.4"}),
    "tif": ("out.tif", "Net", {}),
    "ome.tif": ("out.ome.tif", "Net", {}),
    "h5": ("out.h5", "Net", {}),
    "npy": ("out.npy", "Net", {"executor": "threads"}),
    "mrc": ("out.mrc", "Net", {}),
    "n5": ("out.n5", "Net", {}),
    "precomputed": ("out.precomputed", "Net", {}),
    "labels": ("out.zarr", "Net", {"kind": "labels"}),
    "instances": ("out.zarr", "Net", OBJECTS),
    "instances, h5": ("out.h5", "Net", OBJECTS),
    "instances, precomputed": ("out.precomputed", "Net", OBJECTS),
    "split and grown": ("out.zarr", "Net", {**OBJECTS, "split": "watershed", "grow": 2}),
    "label of an image": ("image.zarr/labels/cells", "Net", OBJECTS),
    "average": ("out.zarr", "Net", {"average": "flip4"}),
    "normalised": ("out.npy", "Net", {"normalise": "volume"}),
    "background": ("out.zarr", "Net", {"background": "60"}),
    "two passes": ("out.zarr", "Attention", {"tile": "32"}),
    "blend": ("out.zarr", "Attention", {"tile": "32", "tiling": "blend"}),
    "overwrite": ("out.zarr", "Net", {"overwrite": True}),
}
"""Output, network and options of each."""
