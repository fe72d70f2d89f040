"""Augmentation: the source of each pixel of a tile, and changes of its grey value.

A deformation is a map from the pixels of a tile to places of the canvas, so that shift, rotation, flip and
elastic deformation are one interpolation. Beyond the image the canvas is mirrored, as in the engine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from tiler.errors import PlanError
from tiler.geometry import Span
from tiler.geometry.mirrored import mirrored_indices
from tiler.ports import Array

Places = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How tiles are varied.

    Parameters
    ----------
    elastic
        Standard deviation in pixels of the displacements on the coarse grid.
    grid
        Points of the coarse grid along each axis of a tile.
    rotate
        Whether a deformed tile is also turned by any angle.
    undeformed
        Share of tiles that are only flipped and turned by 90 degrees. Interpolation smooths the grain of an image,
        and inference does not interpolate.
    contrast, brightness, gamma
        Standard deviations: of the logarithm of a factor, of a shift in standard deviations of the image, and of
        the logarithm of an exponent.
    noise
        Largest standard deviation of added Gaussian noise, in standard deviations of the image.
    """

    elastic: float = 10.0
    grid: int = 3
    rotate: bool = True
    undeformed: float = 0.2
    contrast: float = 0.2
    brightness: float = 0.2
    gamma: float = 0.15
    noise: float = 0.15

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise PlanError(f"the grid of an elastic deformation has at least 2 points an axis, got {self.grid}")
        if not 0 <= self.undeformed <= 1:
            raise PlanError(f"the share of undeformed tiles is from 0 to 1, got {self.undeformed}")
        amounts = (self.elastic, self.contrast, self.brightness, self.gamma, self.noise)
        if min(amounts) < 0:
            raise PlanError(f"amounts of augmentation are not negative, got {self}")

    def places(self, shape: tuple[int, int], tile: int, random: np.random.Generator) -> Places:
        """``(2, tile, tile)`` float64: the place (y, x) on the canvas of every pixel of a random tile.

        The middle of the tile falls anywhere in an image of that shape, so that its rim is seen as often as its
        middle, together with the mirrored canvas beyond.
        """
        middle = np.array([random.integers(0, size) for size in shape], float)
        places = _turned(grid_of(tile), int(random.integers(8)))
        if random.random() >= self.undeformed:
            angle = random.uniform(0, np.pi / 2) if self.rotate else 0.0
            places = _rotated(places, angle)
            places = places + displacements(tile, self.grid, self.elastic, random)
        elif tile % 2 == 0:
            middle += 0.5  # exactly on pixels, so that nothing is interpolated
        return places + middle[:, None, None]

    def grey(self, image: Floats, random: np.random.Generator) -> Floats:
        """``(c, y, x)`` float32: a normalised image with other contrast, brightness, gamma and noise."""
        amount = random.standard_normal(3) * (self.contrast, self.brightness, self.gamma)
        deviation = random.uniform(0, self.noise)
        if self.gamma:
            image = _gamma(image, float(np.exp(amount[2])))
        image = image * np.float32(np.exp(amount[0])) + np.float32(amount[1])
        if deviation:
            image = image + deviation * random.standard_normal(image.shape, np.float32)
        return image.astype(np.float32, copy=False)


def grid_of(tile: int) -> Places:
    """``(2, tile, tile)`` float64: (y, x) of every pixel, counted from the middle of the tile."""
    axis = np.arange(tile) - (tile - 1) / 2
    return np.stack(np.meshgrid(axis, axis, indexing="ij"))


def displacements(tile: int, grid: int, deviation: float, random: np.random.Generator) -> Places:
    """``(2, tile, tile)`` float64: smooth random displacements in pixels.

    They are drawn from a normal distribution on ``grid x grid`` points, the outermost of which lie on the rim of
    the tile, and interpolated by bicubic convolution.
    """
    coarse = torch.from_numpy(random.normal(0, deviation, (1, 2, grid, grid)))
    return F.interpolate(coarse, size=(tile, tile), mode="bicubic", align_corners=True)[0].numpy()


def take_image(image: Array, places: Places) -> Floats:
    """``(c, *places.shape[1:])`` float32: grey values at places of the canvas, by bicubic convolution.

    Parameters
    ----------
    image
        ``(c, y, x)``; its canvas is the image mirrored without end, as in `tiler.jobs.read_mirrored`.
    places
        ``(2, y, x)`` in pixels of the image; whole numbers give the pixels themselves.
    """
    spans = [Span(int(np.floor(axis.min())) - 2, int(np.ceil(axis.max())) + 3) for axis in places]
    rows, columns = (mirrored_indices(span, size) for span, size in zip(spans, image.shape[1:], strict=True))
    window = np.ascontiguousarray(image[:, rows[:, None], columns], np.float32)
    # grid_sample counts from -1, the first pixel's middle, to 1, the last one's.
    where = [2 * (axis - span.start) / (span.size - 1) - 1 for axis, span in zip(places, spans, strict=True)]
    grid = torch.from_numpy(np.stack(where[::-1], -1).astype(np.float32))
    taken = F.grid_sample(torch.from_numpy(window)[None], grid[None], "bicubic", align_corners=True)
    return taken[0].numpy()


def take_labels(labels: Array, places: Places) -> Array:
    """``places.shape[1:]``: the labels ``(y, x)`` nearest to places of the canvas."""
    rows, columns = (_mirrored(np.rint(axis).astype(np.intp), size)
                     for axis, size in zip(places, labels.shape, strict=True))
    return labels[rows, columns]


def _mirrored(places: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.intp]:
    low = int(places.min())
    return mirrored_indices(Span(low, int(places.max()) + 1), size)[places - low]


def _turned(places: Places, which: int) -> Places:
    """One of the eight flips and rotations by 90 degrees."""
    y, x = places
    if which & 1:
        y, x = x, y
    return np.stack([-y if which & 2 else y, -x if which & 4 else x])


def _rotated(places: Places, angle: float) -> Places:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([cosine * places[0] - sine * places[1], sine * places[0] + cosine * places[1]])


def _gamma(image: Floats, exponent: float) -> Floats:
    """Apply a gamma curve to grey values; the lowest and the highest stay."""
    low, high = image.min(), image.max()
    if high == low:
        return image
    return ((image - low) / (high - low)) ** np.float32(exponent) * (high - low) + low
