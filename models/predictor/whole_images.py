"""Networks of whole images, such as classifiers: their output, resampled to the grid of the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tiler.errors import ModelError
from tiler.models.loading.build_recipes import Recipe
from tiler.models.loading.loaded_model import LoadedModel

ATTENTION = "attention"
"""Name of the channel with the attention map of a network that explains its answer."""


class WholeImage(nn.Module):
    """``(n, c, y, x) -> (n, k, y, x)``: scores of an image at each of its voxels.

    Scores without spatial axes apply to every voxel; coarser maps are interpolated. A network with a method
    ``explain`` gives the probabilities of its classes and its attention map.

    Parameters
    ----------
    network
        The network to run.
    resize
        ``(y, x)`` to which images are resized; None keeps their size.
    """

    def __init__(self, network: nn.Module, resize: tuple[int, int] | None) -> None:
        super().__init__()
        self.network, self.resize = network, resize

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        if self.resize is not None:
            x = F.interpolate(x, self.resize, mode="bilinear", align_corners=False, antialias=True)
        maps = self._explained(x) if explains(self.network) else self.network(x)
        if maps.ndim == 2:
            return maps[..., None, None].expand(*maps.shape, *size)
        return maps if maps.shape[2:] == size else F.interpolate(maps, size, mode="bilinear", align_corners=False)

    def _explained(self, x: torch.Tensor) -> torch.Tensor:
        explain: Any = self.network.explain
        scores, attention = explain(x)
        probabilities = scores.softmax(1)[..., None, None]
        return torch.cat([probabilities.expand(-1, -1, *attention.shape[2:]), attention], 1)


def explains(module: nn.Module) -> bool:
    """Whether a network can show which parts of an image its answer depends on."""
    return callable(getattr(module, "explain", None))


@dataclass(frozen=True, slots=True)
class WholeRecipe:
    """A `tiler.models.loading.build_recipes.Recipe` of a network inside a `WholeImage`."""

    recipe: Recipe
    resize: tuple[int, int] | None

    def build(self) -> nn.Module:
        return WholeImage(self.recipe.build(), self.resize)

    def meta(self) -> nn.Module:
        return WholeImage(self.recipe.meta(), self.resize)


def on_whole_images(loaded: LoadedModel, resize: tuple[int, int] | None) -> LoadedModel:
    """The same network, with its output on the grid of the image.

    Raises
    ------
    ModelError
        If the network takes volumes.
    """
    if loaded.ndim != 2:
        raise ModelError(f"{loaded.identity['model']} takes volumes: only slices are resized, or get an answer that "
                         "has no axes (`resize`, `tiling`)")
    changed: dict[str, Any] = {}
    if explains(loaded.recipe.meta()):
        names = loaded.classes and (*loaded.classes, ATTENTION)
        changed = {"classes": names, "head": "none"}
    identity = {**loaded.identity, "whole": True, "resize": None if resize is None else list(resize)}
    # What a factory gives is compared with what it gave at first under other names than those inside a `WholeImage`.
    return replace(loaded, recipe=WholeRecipe(loaded.recipe, resize), identity=identity, values=None, **changed)
