"""What lies inside the neurites, as additions to and subtractions from the grey of their cytoplasm."""

from dataclasses import dataclass

import numpy as np

from .anatomy import Outlines
from .cells import Neurites
from .noise import SmoothField, generator, log_uniform, uniform


@dataclass(frozen=True)
class Contents:
    """One row per cell: what its cytoplasm looks like and how many organelles it holds per pixel.

    `shade` in grey values; `grains`, `vesicles`, `tubules` (microtubules) and `bodies` (dense-core vesicles) per
    pixel.
    """

    shade: np.ndarray
    grains: np.ndarray
    vesicles: np.ndarray
    tubules: np.ndarray
    bodies: np.ndarray


def furnish(neurites: Neurites, seed: int) -> Contents:
    """Decide what each cell is: some are dark and full of ribosomes (glia), some full of vesicles (boutons)."""
    rng = generator(seed, 4)
    n = neurites.count
    first = np.searchsorted(neurites.owner, np.arange(n))
    radius = neurites.calibre[first]
    dark = (rng.random(n) < 0.12) & (radius < 40)
    bouton = (rng.random(n) < 0.35) & (radius > 13) & ~dark
    return Contents(
        shade=8 * rng.standard_normal(n) - uniform(rng, 18, 40, n) * dark,
        grains=np.where(dark, uniform(rng, 0.012, 0.022, n), log_uniform(rng, 0.003, 0.012, n)),
        vesicles=np.where(bouton, log_uniform(rng, 0.003, 0.010, n), 0.0008),
        tubules=np.where(dark, 0, log_uniform(rng, 0.0015, 0.006, n)),
        bodies=np.where(rng.random(n) < 0.3, 0.0003, 0.00004),
    )


@dataclass(frozen=True)
class Stamp:
    """A round thing smaller than a section is thick: a core and a rim, in grey values, around `radius` pixels."""

    radius: float
    width: float
    rim: float
    core: float

    def draw(self, picture: np.ndarray, y: float, x: float, strength: float) -> None:
        """Add it to `picture` (y, x) float64 in place; what reaches beyond the edge is cut."""
        reach = int(np.ceil(self.radius + 3 * self.width))
        top, left = max(int(y) - reach, 0), max(int(x) - reach, 0)
        window = picture[top : int(y) + reach + 2, left : int(x) + reach + 2]
        rows, columns = np.ogrid[top : top + window.shape[0], left : left + window.shape[1]]
        distance = np.hypot(rows - y, columns - x) - self.radius
        rim = np.exp(-0.5 * (distance / self.width) ** 2)
        inside = 1 / (1 + np.exp(np.clip(distance / (0.5 * self.width), -40, 40)))
        window += strength * (self.rim * rim + self.core * inside)


VESICLE = Stamp(radius=4.4, width=1.2, rim=-96, core=9)
TUBULE = Stamp(radius=2.3, width=1.0, rim=-88, core=0)
GRAIN = Stamp(radius=0.0, width=1.5, rim=-88, core=0)
BODY = Stamp(radius=5.5, width=1.8, rim=-22, core=-80)


def scatter(rng: np.random.Generator, picture: np.ndarray, stamp: Stamp, density: np.ndarray) -> None:
    """Draw stamps in place, `density` (y, x) of them per pixel."""
    hits = np.argwhere(rng.random(picture.shape) < density)
    shifts, strengths = rng.random(hits.shape), uniform(rng, 0.35, 1.15, len(hits))
    for (y, x), strength in zip(hits + shifts, strengths, strict=True):
        stamp.draw(picture, y, x, strength)


def clusters(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """(y, x) float64 of mean near 1: where vesicles gather."""
    return np.exp(1.3 * SmoothField(rng, (1, *shape), 22, 1).plane(0) - 0.85)


def reticulum(rng: np.random.Generator, picture: np.ndarray, outlines: Outlines, count: int) -> None:
    """Draw pieces of endoplasmic reticulum in place: pairs of dark lines which wander through wide cells."""
    room = np.argwhere(outlines.depth > 16)
    for _ in range(count if len(room) else 0):
        start = room[int(rng.random() * len(room))]
        strength = uniform(rng, 0.12, 0.3)
        for y, x in _double_track(rng, start):
            inside = 0 <= y < picture.shape[0] and 0 <= x < picture.shape[1]
            if inside and outlines.depth[int(y), int(x)] > 5:
                GRAIN.draw(picture, y, x, strength)


def _double_track(rng: np.random.Generator, start: np.ndarray) -> np.ndarray:
    """(points, 2) y and x, one pixel apart, on both sides of a path which turns at random."""
    steps = int(uniform(rng, 12, 55))
    angle = uniform(rng, 0, 2 * np.pi) + np.cumsum(0.14 * rng.standard_normal(steps))
    along = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    across = uniform(rng, 1.8, 3.2) * along[:, ::-1] * (1, -1)
    path = start + np.cumsum(along, axis=0)
    return np.concatenate([path + across, path - across])
