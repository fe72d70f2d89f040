"""A dry run of a network, without data, to find legal tiles and the position of the output in them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import torch

from tiler.errors import GeometryError, ModelError
from tiler.geometry import Footprint
from tiler.models.aten.modules import on_meta, quiet
from tiler.models.loading.user_code import first_line
from tiler.models.probe import probe
from tiler.models.training.networks import Network
from tiler.models.training.objectives import supervised
from tiler.models.training.tiles import Window

FAR = 256
"""Largest change of size in the search for a legal tile; no network has a larger stride."""


class Rehearsal:
    """A dry run of a network on the meta device.

    Parameters
    ----------
    network
        The network; it is not changed.
    batch
        Tiles a step.
    """

    def __init__(self, network: Network, batch: int) -> None:
        self.network, self.batch = network, batch
        self._twin = on_meta(network.module)

    def require(self, tile: int, planes: int = 0) -> Window:
        """The window of a tile.

        Parameters
        ----------
        tile
            Its side in y and x.
        planes
            Its size in z; 3-D networks only.

        Raises
        ------
        GeometryError
            If the tile is not legal; the message names the nearest legal tiles.
        ModelError
            If the network takes no tile, or needs more tiles per batch.
        """
        shape = self._shape(tile, planes)
        window = self._window(shape)
        if window is None:
            raise self._misfit(tile, planes)
        try:
            self._output(shape, self.batch, training=True)
        except Exception as error:  # any layer may raise
            raise ModelError(f"{self.network.title} cannot be trained with {self.batch} tiles of {_titled(shape)} px a "
                             f"step: {first_line(error)} (`batch`, `tile`)") from error
        return window

    def nearest(self, tile: int) -> int:
        """Side of the legal tile of a 2-D network closest to ``tile``; ``tile`` itself if none is near."""
        return self._first(tile + sign * away for away in range(FAR) for sign in (1, -1)) or tile

    def fitted(self, tile: int, planes: int, *, fixed: bool) -> tuple[int, int]:
        """Adapt a recipe's tile to this network: side and planes.

        Parameters
        ----------
        tile, planes
            Side and planes of the recipe's tile; 0 planes leave the number open.
        fixed
            Whether the user requested this side.

        Notes
        -----
        A 3-D network that neither pads nor pools along z, such as a 2.5-D network, gets the fewest planes that give
        one plane of output. Any other gets a cube with about as many voxels as the recipe's square has pixels:
        444 x 444 becomes 58 x 58 x 58, rounded up to the next legal tile.
        """
        if self.network.ndim == 2:
            return (tile if fixed else self.nearest(tile)), 0
        thin = self._thinnest
        if not fixed and not thin:
            tile = round(tile ** (2 / 3))
        above = self._footprint.nearest((planes or thin or tile, tile, tile))[1]
        return (tile if fixed else above[1]), planes or above[0]

    @property
    def _thinnest(self) -> int:
        """Planes that give one plane of output, if a 3-D network neither pads nor pools along z; else 0."""
        axis = self._footprint.axes[0]
        valid = axis.low + axis.high == axis.shrink_low + axis.shrink_high > 0
        return axis.smallest if valid and axis.stride == 1 else 0

    def _shape(self, tile: int, planes: int) -> tuple[int, ...]:
        return (tile, tile) if self.network.ndim == 2 else (planes, tile, tile)

    def _misfit(self, tile: int, planes: int) -> GeometryError:
        if self.network.ndim == 3:
            near = [sized(size) for size in self._footprint.nearest((planes, tile, tile)) if min(size) > 0]
        else:
            found = (self._first(range(tile + sign, tile + sign * FAR, sign)) for sign in (-1, 1))
            near = [str(size) for size in found if size is not None]
        which = {0: "there is no legal tile near it", 1: "the nearest legal tile is"}.get(
            len(near), "the nearest legal tiles are")
        return GeometryError(f"tile {_titled(self._shape(tile, planes))} does not fit the network: "
                             f"{' '.join([which, ' and '.join(near)]).strip()}", option="tile")

    def _first(self, tiles: Iterable[int]) -> int | None:
        return next((tile for tile in tiles if self._window((tile, tile)) is not None), None)

    def _window(self, shape: tuple[int, ...]) -> Window | None:
        """The window of a tile; None if the tile is not legal."""
        try:
            size = self._output(shape)
        except Exception:  # a layer may raise any error for an illegal size
            return None
        if size == shape:
            return Window(shape, shape, (0,) * len(shape))
        full = (*(1,) * (3 - len(shape)), *shape)
        if not self._footprint.admits(full):
            return None
        return Window(shape, self._footprint.output(full)[-len(shape):], self._footprint.shrink_low[-len(shape):])

    def _output(self, shape: tuple[int, ...], batch: int = 1, *, training: bool = False) -> tuple[int, ...]:
        """Shape of the outputs that are compared with the labels."""
        images = torch.empty(batch, self.network.in_channels, *shape, device="meta")
        self._twin.train(training)
        with quiet(), torch.random.fork_rng(devices=[]):
            outputs = supervised(self._twin, images).outputs
        return tuple(min(sizes) for sizes in zip(*(scores.shape[2:] for scores in outputs), strict=True))

    @cached_property
    def _footprint(self) -> Footprint:
        network = self.network
        found: Footprint | None = network.footprint
        if found is None:
            found = probe(network.module, network.in_channels, network.ndim, prove=False).footprint
        if found is None:
            raise ModelError(f"the position of the output of {network.title} in its input is not known", option="model")
        return found


def sized(shape: tuple[int, ...]) -> str:
    """``"16 x 96 x 96"``."""
    return " x ".join(map(str, shape))


def _titled(shape: tuple[int, ...]) -> str:
    """A square by its side, a box by all of its sizes."""
    return str(shape[0]) if len(shape) == 2 else sized(shape)
