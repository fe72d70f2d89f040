"""From tissue to picture: a section of finite thickness, its stain, the beam and the camera."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from . import organelles
from .anatomy import Outlines, Tissue
from .cells import grow
from .mitochondria import MitochondriaPainter
from .noise import SmoothField, filtered_noise, generator, uniform

_CUTS = 6
"""Sheets through which the beam passes in one section; a membrane that leans is smeared over all of them."""

_CYTOPLASM = 168.0
_MEMBRANE = 112.0
_DARKEST = 78.0
"""What overlapping small organelles take from the grey at most."""

_SYNAPSES_PER_SECTION = 7

# Spectrum of the grain: cycles per pixel, and amplitude relative to white noise. The camera blurs what is fine.
_FREQUENCY = (0, 0.03, 0.06, 0.12, 0.19, 0.25, 0.31, 0.38, 0.44, 0.5, 0.75)
_AMPLITUDE = (44, 45, 45, 41, 32, 22, 13.3, 7.0, 3.9, 2.6, 1.5)


@dataclass(frozen=True)
class Section:
    """One photograph and its truth.

    `image` (y, x) uint8; `labels` (y, x) uint8, membrane 0 and cell 255; `instances` (y, x) uint16, membrane 0 and
    otherwise the number of the neurite, the same in every section.
    """

    image: np.ndarray
    labels: np.ndarray
    instances: np.ndarray


class Specimen:
    """A block of neuropil: `sections` of `side` x `side` pixels, all from one seed."""

    def __init__(self, seed: int, sections: int, side: int):
        self.seed, self.sections, self.side = seed, sections, side
        self._tissue = Tissue(grow(seed, sections, side), seed, sections, side)
        self._contents = organelles.furnish(self._tissue.neurites, seed)
        self._mitochondria = MitochondriaPainter(self._tissue, seed, sections)
        stain = generator(seed, 8)
        shape = (sections, side, side)
        self._stain = SmoothField(stain, shape, 30, 1.5)
        self._mottle = SmoothField(stain, shape, 45, 1.0)
        self._synapses = uniform(stain, 0, 1, (_SYNAPSES_PER_SECTION * sections, 5)) * (*shape, 1, 1)

    def section(self, index: int) -> Section:
        """Cut, stain and photograph one section; it does not depend on the others having been made."""
        heights = index + (np.arange(_CUTS) + 0.5) / _CUTS - 0.5
        cuts = [self._tissue.cut(z) for z in heights]
        middle = self._tissue.cut(index)
        membrane = np.mean([_profile(cut.depth) for cut in cuts], axis=0)
        grey = self._cytoplasm(cuts, heights, middle, index)
        grey -= _MEMBRANE * membrane * np.clip(1 + 0.16 * self._stain.plane(index), 0.5, 1.4)
        self._draw_synapses(grey, membrane, index)
        cell = (membrane < 0.42) & (middle.depth > 1.8)
        return Section(
            image=self._photograph(grey, index),
            labels=np.where(cell, 255, 0).astype(np.uint8),
            instances=np.where(cell, middle.owner + 1, 0).astype(np.uint16),
        )

    def _cytoplasm(self, cuts: list[Outlines], heights: np.ndarray, middle: Outlines, index: int) -> np.ndarray:
        """(y, x) float64: all that is not cell membrane."""
        large = np.zeros((self.side, self.side))
        covered = [self._mitochondria.draw(large, cut, z) for cut, z in zip(cuts, heights, strict=True)]
        small = _DARKEST * np.tanh(self._small_organelles(middle, index) / _DARKEST)
        shade = np.mean([self._contents.shade[cut.owner] for cut in cuts], axis=0)
        background = _CYTOPLASM + shade + 9 * self._mottle.plane(index)
        return background + large / _CUTS + small * (1 - np.mean(covered, axis=0))

    def _small_organelles(self, middle: Outlines, index: int) -> np.ndarray:
        """(y, x) float64: what is thinner than a section, and is not followed from one to the next."""
        rng = generator(self.seed, 9, index)
        picture = np.zeros((self.side, self.side))
        gathered = organelles.clusters(rng, picture.shape)
        for stamp, densities, crowding, clearance in (
            (organelles.GRAIN, self._contents.grains, 1, 3),
            (organelles.VESICLE, self._contents.vesicles, gathered, 7),
            (organelles.TUBULE, self._contents.tubules, 1, 6),
            (organelles.BODY, self._contents.bodies, 1, 9),
        ):
            density = np.where(middle.depth > clearance, densities[middle.owner] * crowding, 0)
            organelles.scatter(rng, picture, stamp, density)
        organelles.reticulum(rng, picture, middle, 14)
        return picture

    def _draw_synapses(self, grey: np.ndarray, membrane: np.ndarray, index: int) -> None:
        """Darken membranes where cells touch at a synapse, and draw the smear of its density, in place."""
        thick = ndimage.gaussian_filter(membrane, 3.2)
        for z, y, x, size, strength in self._synapses:
            near = np.exp(-0.5 * ((z - 0.5 - index) / 0.6) ** 2) * (0.4 + 0.6 * strength)
            if near > 0.12:
                row, column = _snap(membrane, y, x)
                spread = _blob(grey.shape, row, column, 10 + 12 * size)
                core = _blob(grey.shape, row, column, 5 + 7 * size)
                grey -= near * (75 * spread * thick + 38 * core * (0.35 + thick))

    def _photograph(self, grey: np.ndarray, index: int) -> np.ndarray:
        """Point spread, uneven light, stains, grain, contrast; rounded to uint8."""
        rng = generator(self.seed, 10, index)
        gain, offset = uniform(rng, 0.9, 1.18), uniform(rng, -17, 9)
        light = 5 * SmoothField(rng, (1, self.side, self.side), 170, 1).plane(0)
        grain = filtered_noise(rng, grey.shape, _FREQUENCY, _AMPLITUDE)
        blurred = ndimage.gaussian_filter(grey, 0.75) + _blemishes(rng, grey.shape)
        picture = 126 + gain * (blurred + grain - 126) + light + offset
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _profile(depth: np.ndarray) -> np.ndarray:
    """Stain across the two apposed membranes, which this resolution does not separate."""
    return np.exp(-((depth / 3.1) ** 2))


def _blob(shape: tuple[int, int], y: float, x: float, size: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.exp(-0.5 * ((rows - y) ** 2 + (columns - x) ** 2) / size**2)


def _snap(membrane: np.ndarray, y: float, x: float, reach: int = 14) -> tuple[int, int]:
    """Move a point to the darkest membrane in its neighbourhood."""
    top, left = max(int(y) - reach, 0), max(int(x) - reach, 0)
    window = membrane[top : int(y) + reach, left : int(x) + reach]
    row, column = np.unravel_index(np.argmax(window), window.shape)
    return top + int(row), left + int(column)


def _blemishes(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """(y, x) float64: spots that the beam has bleached and, in some sections, dirt."""
    picture = np.zeros(shape)
    for _ in range(3):
        y, x = uniform(rng, 0, 1, 2) * shape
        picture += uniform(rng, 15, 55) * _blob(shape, y, x, uniform(rng, 4, 9))
    if rng.random() < 0.3:
        y, x = uniform(rng, 0, 1, 2) * shape
        picture -= uniform(rng, 60, 110) * _blob(shape, y, x, uniform(rng, 7, 14))
    return picture
