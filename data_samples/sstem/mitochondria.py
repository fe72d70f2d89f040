"""Mitochondria: large enough to be followed through several sections."""

from dataclasses import dataclass

import numpy as np

from .anatomy import Outlines, Tissue
from .cells import Neurites
from .noise import SmoothField, generator


@dataclass(frozen=True)
class Mitochondrion:
    """An ellipsoid which travels with one disc.

    `offset`, `axes` and `spacing` (of the cristae) in pixels, `height` and `half_height` in sections;
    `angle` is that of the longer axis, `lamellae` that of the cristae.
    """

    disc: int
    offset: np.ndarray
    axes: tuple[float, float]
    angle: float
    height: float
    half_height: float
    spacing: float
    lamellae: float


def mitochondria(neurites: Neurites, seed: int, sections: int) -> list[Mitochondrion]:
    """Place them in discs that are wide enough, up to two in the widest."""
    rng = generator(seed, 5)
    found = []
    for disc, radius in enumerate(neurites.calibre):
        for _ in range(1 + int(radius // 45)):
            draw = rng.random(9)
            if radius < 17 or draw[0] > 0.42:
                continue
            minor = min(0.7 * radius, 14 + 14 * draw[1])
            room = max(0.85 * radius - minor, 0) * np.sqrt(draw[2])
            turn = 2 * np.pi * draw[3]
            found.append(
                Mitochondrion(
                    disc=disc,
                    offset=room * np.array([np.sin(turn), np.cos(turn)]),
                    axes=(minor * (1 + 0.7 * draw[4]), minor),
                    angle=np.pi * draw[5],
                    height=sections * draw[6],
                    half_height=2.5 + 5 * draw[7],
                    spacing=7.2 + 2 * draw[8],
                    lamellae=50 * draw[0],
                )
            )
    return found


class MitochondriaPainter:
    """Draws mitochondria: matrix, double membrane, cristae."""

    def __init__(self, tissue: Tissue, seed: int, sections: int):
        self._neurites = tissue.neurites
        self._found = mitochondria(tissue.neurites, seed, sections)
        self._wave = SmoothField(generator(seed, 6), (sections, tissue.side, tissue.side), 16, 3)
        self._ragged = SmoothField(generator(seed, 7), (sections, tissue.side, tissue.side), 7, 1.5)

    def draw(self, picture: np.ndarray, outlines: Outlines, z: float) -> np.ndarray:
        """Add all to `picture` (y, x) float64 in place; return where they are, as a share (y, x) from 0 to 1."""
        wave, ragged = self._wave.plane(z), self._ragged.plane(z)
        covered = np.zeros_like(picture)
        for one in self._found:
            depth, along = self._depth(one, outlines.place, z)
            window = _hull(depth > -8)
            if window is None:
                continue
            at_home = outlines.owner[window] == self._neurites.owner[one.disc]
            room = np.where(at_home, 2 * outlines.depth[window] - 5, -9)
            inside = np.minimum(depth[window] + 0.8 * ragged[window], room)
            phase = along[window] / one.spacing + 0.55 * wave[window]
            picture[window] += (1 - covered[window]) * _texture(inside, phase, ragged[window])
            np.maximum(covered[window], _step(inside), out=covered[window])
        return covered

    def _depth(self, one: Mitochondrion, place: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
        """Pixels from the surface, positive inside, and the coordinate across the cristae."""
        y, x = place - (self._neurites.centres(z)[one.disc] + one.offset)[:, None, None]
        u = np.cos(one.angle) * x + np.sin(one.angle) * y
        v = np.cos(one.angle) * y - np.sin(one.angle) * x
        major, minor = one.axes
        lift = (z - one.height) / one.half_height
        depth = minor * (1 - np.sqrt((u / major) ** 2 + (v / minor) ** 2 + lift**2))
        return depth, np.cos(one.lamellae) * u + np.sin(one.lamellae) * v


def _texture(inside: np.ndarray, phase: np.ndarray, ragged: np.ndarray) -> np.ndarray:
    """Grey values to add, from the distance to the surface and the phase of the cristae."""
    outer = np.exp(-0.5 * (inside / 1.3) ** 2)
    inner = np.exp(-0.5 * ((inside - 4) / 1.3) ** 2)
    lamella = np.exp(2 * (np.cos(2 * np.pi * phase) - 1)) * np.clip(0.75 + 0.4 * ragged, 0, 1)
    matrix = _step(inside - 3)
    return 14 * _halo(inside) - 64 * outer - 48 * inner - matrix * (42 + 92 * lamella)


def _halo(inside: np.ndarray) -> np.ndarray:
    """The cytoplasm is clear next to a mitochondrion."""
    return np.exp(-0.5 * ((inside + 6) / 3) ** 2)


def _step(distance: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-2 * distance, -40, 40)))


def _hull(mask: np.ndarray) -> tuple[slice, slice] | None:
    """The smallest window which holds every true pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if rows.size else None
