"""Tiles of each step: drawn from annotated slices, varied, and identical for the same step in every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiler.errors import ModelError
from tiler.geometry import Span
from tiler.geometry.mirrored import mirrored_indices
from tiler.models.loading.weights import Normalisation
from tiler.models.training.augmentation import Augmentation, take_image, take_labels
from tiler.models.training.data import Slice, runs_of
from tiler.ports import Array

Floats = npt.NDArray[np.float32]
OwnAugmentation = Callable[[Array, Array, Array, np.random.Generator], tuple[Array, Array, Array]]
"""From image, classes and weights of a tile, and a random generator, to the varied image, classes and weights."""


@dataclass(frozen=True, slots=True)
class Window:
    """Position of a network's output in a tile; ``([z], y, x)`` in voxels.

    Parameters
    ----------
    tile
        Shape of the input: ``(572, 572)`` for the published U-Net.
    size
        Shape of the output: ``(388, 388)``.
    offset
        Place of the output's first voxel in the tile: ``(92, 92)``.
    """

    tile: tuple[int, ...]
    size: tuple[int, ...]
    offset: tuple[int, ...]

    @property
    def inside(self) -> tuple[slice, ...]:
        """The part of a tile-shaped array that the output covers."""
        return tuple(slice(start, start + size) for start, size in zip(self.offset, self.size, strict=True))


def checked_augmentation(function: Callable[..., object], name: str) -> OwnAugmentation:
    """The user's augmentation, with checked results.

    Parameters
    ----------
    function
        Called with ``image`` ``(c, [z], y, x)`` float32, normalised; ``classes`` ``([z], y, x)`` uint8; ``weights``
        ``([z], y, x)`` float32; and a `numpy.random.Generator`, which must be its only source of randomness. It
        returns the three varied arrays, with the same shapes.
    name
        Name of the function, for messages.
    """
    title = Path(name).name

    def own(image: Array, classes: Array, weights: Array, random: np.random.Generator) -> tuple[Array, Array, Array]:
        found = function(image, classes, weights, random)
        shapes = [image.shape, classes.shape, weights.shape]
        if not isinstance(found, tuple) or [np.shape(part) for part in found] != shapes:
            raise ModelError(f"{title} must return image, classes and weights of the shapes "
                             f"{', '.join(map(str, shapes))}", option="augment")
        varied, truth, weight = (np.ascontiguousarray(part, dtype)
                                 for part, dtype in zip(found, (np.float32, np.uint8, np.float32), strict=True))
        return varied, truth, weight

    return own


@dataclass(frozen=True)
class Tiles:
    """The input of one step.

    Parameters
    ----------
    images
        ``(n, c, [z], y, x)`` float32, normalised.
    classes, weights
        ``(n, [z'], y', x')`` uint8 and float32, over the network's output.
    """

    images: npt.NDArray[np.float32]
    classes: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.float32]


@dataclass(frozen=True)
class TileSampler:
    """Draws the tiles of any step; the same step always gives the same tiles.

    Parameters
    ----------
    slices
        Slices to draw from. A 3-D network gets the neighbours of a slice as well, mirrored where a stack ends.
    weights
        ``(y, x)`` of each slice; see `tiler.models.training.data.weights_of`.
    scaling
        Normalisation of grey values.
    augmentation
        Variation of the tiles. All planes of a tile are deformed alike.
    batch
        Tiles a step.
    window
        Shape of a tile, and position of the network's output in it.
    seed
        Seed of all random numbers.
    own
        The user's own augmentation, applied last.
    """

    slices: Sequence[Slice]
    weights: Sequence[Floats]
    scaling: Normalisation
    augmentation: Augmentation
    batch: int
    window: Window
    seed: int
    own: OwnAugmentation | None = None

    def __call__(self, step: int) -> Tiles:
        drawn = [self._tile(step * self.batch + place) for place in range(self.batch)]
        return Tiles(*(np.stack(part) for part in zip(*drawn, strict=True)))

    def _tile(self, number: int) -> tuple[Array, Array, Array]:
        # Every tile has its own generator, so that a resumed run needs no stored state.
        random = np.random.default_rng((self.seed, number))
        which = self._slice(number)
        places = self.augmentation.places(self.slices[which].classes.shape, self.window.tile[-1], random)
        planes = self._planes(which, random)
        image = np.stack([take_image(self.slices[at].image, places) for at in planes], 1)
        image = self.augmentation.grey(self._scaled(image), random)
        classes = np.stack([take_labels(self.slices[at].classes, places) for at in planes])
        weights = np.stack([take_labels(self.weights[at], places) for at in planes])
        if len(self.window.tile) == 2:
            image, classes, weights = image[:, 0], classes[0], weights[0]
        if self.own is not None:
            image, classes, weights = self.own(image, classes, weights, random)
        return image, classes[self.window.inside], weights[self.window.inside]

    def _scaled(self, image: Floats) -> Floats:
        """``(c, z, y, x)`` grey values, normalised."""
        mean, std = (np.array(values, np.float32)[:, None, None, None]
                     for values in (self.scaling.mean, self.scaling.std))
        return (image / np.float32(self.scaling.scale) - mean) / std

    def _planes(self, which: int, random: np.random.Generator) -> list[int]:
        """Positions of the slices of a tile around one of them, upwards or downwards."""
        if len(self.window.tile) == 2:
            return [which]
        run, count = self._run_of[which], self.window.tile[0]
        first = which - run.start - count // 2
        planes = [run[at] for at in mirrored_indices(Span(first, first + count), len(run))]
        return planes[::-1] if random.integers(2) else planes

    @cached_property
    def _run_of(self) -> dict[int, range]:
        return {at: run for run in runs_of(self.slices) for at in run}

    def _slice(self, number: int) -> int:
        """Every slice once in each round, in random order."""
        lap, place = divmod(number, len(self.slices))
        order = np.random.default_rng((self.seed, lap, 1)).permutation(len(self.slices))
        return int(order[place])
