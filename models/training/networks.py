"""The network of a run: what its factory is called with, and which tiles it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from tiler.errors import GeometryError, ModelError
from tiler.geometry import Footprint
from tiler.models.aten.meta_device import without_values
from tiler.models.loading.user_code import first_line
from tiler.models.probe import probe
from tiler.models.probe.modules import on_meta, quiet
from tiler.models.training.objectives import OBJECTIVES, supervised
from tiler.models.training.recipes import Recipe
from tiler.models.zoo import registry

_WIDTHS = {"unet": 32}
"""First levels that are narrower than published, unless the user says otherwise."""
_OF_RECIPE = ("batch_norm", "dropout")
_FAR = 256
"""How much larger or smaller a legal tile is looked for: no network has a stride beyond it."""


def arguments_of(name: str, given: Mapping[str, Any], recipe: Recipe, in_channels: int) -> dict[str, Any]:
    """What the factory of a registered network is called with.

    Parameters
    ----------
    name
        Of the network.
    given
        What the user says of it.
    recipe
        Decides what the entry leaves open, and by its loss the number of classes.
    in_channels
        Of the images.

    Raises
    ------
    ModelError
        If it cannot be trained, does not take what is given, or images or loss need something else.
    """
    entry = registered(name)
    known = _on_meta(entry).arguments
    needed = {"in_channels": in_channels, "classes": OBJECTIVES[recipe.loss].channels}
    if "ndim" in known:
        needed["ndim"] = 2
    why = {"in_channels": "the images have", "classes": f"the loss {recipe.loss} needs", "ndim": "tiler trains slices:"}
    for key, value in given.items():
        if key not in known:
            raise ModelError(f"{name} has no {key}: it has {', '.join(known)} (--model-arg)")
        if value != needed.get(key, value):
            raise ModelError(f"{key} of {name} cannot be {value}, {why[key]} {needed[key]}; leave it out (--model-arg)")
    width = {"base": _WIDTHS[name]} if name in _WIDTHS else {}
    open_ones = {key: getattr(recipe, key) for key in _OF_RECIPE if key in known}
    return {**width, **open_ones, **entry.arguments, **given, **needed}


def registered(name: str) -> registry.ModelEntry:
    """The entry of a network that can be trained.

    Raises
    ------
    ModelError
        If there is no such network.
    """
    if ":" in name:
        raise ModelError(f"{name} is not tiler's own, and tiler trains no others: known are "
                         f"{', '.join(registry.names())} (--model)")
    return registry.describe(name)


def _on_meta(entry: registry.ModelEntry) -> Any:
    with without_values():
        return registry.build(entry.name)


def build(name: str, arguments: Mapping[str, Any], seed: int) -> nn.Module:
    """A registered network with random weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            module: nn.Module = registry.build(name, **arguments)
        except (TypeError, ValueError) as error:
            raise ModelError(f"{name} does not take these arguments: {first_line(error)} (--model-arg)") from error
    return module


@dataclass(frozen=True, slots=True)
class Window:
    """Where the output of a network lies in a square tile.

    Parameters
    ----------
    size
        Of the output.
    offset
        From the tile's edge.
    """

    size: int
    offset: int


class Rehearsal:
    """A network without data, which shows what tiles it takes.

    Parameters
    ----------
    name
        Of the network, for people.
    module
        The network; it is not changed.
    batch
        Tiles a step.
    """

    def __init__(self, name: str, module: nn.Module, batch: int) -> None:
        self.name, self.module, self.batch = name, module, batch
        self._twin = on_meta(module)

    def require(self, tile: int) -> Window:
        """The window of a tile that the user asks for.

        Raises
        ------
        GeometryError
            If the network does not take it; names the nearest tiles that it takes.
        ModelError
            If it takes none, or not so few at once.
        """
        window = self._window(tile)
        if window is None:
            raise self._misfit(tile)
        try:
            self._output(tile, self.batch, training=True)
        except Exception as error:  # of whatever layer
            raise ModelError(f"{self.name} cannot be trained with {self.batch} tiles of {tile} px a step: "
                             f"{first_line(error)} (--batch, --tile)") from error
        return window

    def nearest(self, tile: int) -> int:
        """The legal tile that is closest to one that nobody insists on; that one where none is near."""
        return self._first(tile + sign * away for away in range(_FAR) for sign in (1, -1)) or tile

    def _misfit(self, tile: int) -> GeometryError:
        found = (self._first(range(tile + sign, tile + sign * _FAR, sign)) for sign in (-1, 1))
        near = [str(size) for size in found if size is not None]
        which = {0: "there is no legal tile near it", 1: "the nearest legal tile is"}.get(
            len(near), "the nearest legal tiles are")
        return GeometryError(f"tile {tile} does not fit the network: {' '.join([which, ' and '.join(near)]).strip()} "
                             "(--tile)")

    def _first(self, tiles: Iterable[int]) -> int | None:
        return next((tile for tile in tiles if self._window(tile) is not None), None)

    def _window(self, tile: int) -> Window | None:
        """None for a tile that is not legal."""
        try:
            size = self._output(tile)
        except Exception:  # whatever a layer raises at a size that it does not take
            return None
        if size == tile:
            return Window(tile, 0)
        shape = (1, tile, tile)
        if not self._footprint.admits(shape):
            return None
        return Window(self._footprint.output(shape)[1], self._footprint.shrink_low[1])

    def _output(self, tile: int, batch: int = 1, *, training: bool = False) -> int:
        """Side of the outputs that are compared with the labels."""
        images = torch.empty(batch, self.module.arguments["in_channels"], tile, tile, device="meta")
        self._twin.train(training)
        with quiet(), torch.random.fork_rng(devices=[]):
            return min(min(scores.shape[2:]) for scores in supervised(self._twin, images).outputs)

    @cached_property
    def _footprint(self) -> Footprint:
        found = probe(self.module, self.module.arguments["in_channels"], prove=False).footprint
        if found is None:
            raise ModelError(f"it is not known where the output of {self.name} lies in its input (--model)")
        return found
