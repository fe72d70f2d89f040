"""From neurites to membranes: who owns each pixel, and how far the next cell is."""

from dataclasses import dataclass

import numpy as np

from .cells import Neurites
from .noise import SmoothField, generator

_REACH = 75.0
"""How far, in pixels, a disc can grow into the space between the packed discs, the bending included."""

_STRAIN = 2.6
"""How far, in pixels, a section is stretched by the knife and the beam; no alignment undoes it."""

_ENDED = -4.0
"""Radius below which a cell that tapers off is gone."""

# (scale in the plane, depth along the stack, amplitude in pixels) of what bends the outlines
_WARPS = ((70.0, 3.0, 9.0), (26.0, 1.6, 4.4), (11.0, 0.9, 1.3))


@dataclass(frozen=True)
class Outlines:
    """A cut of no thickness.

    `owner` (y, x) int is the cell of each pixel, `depth` (y, x) float64 its distance to the boundary, in pixels,
    and `place` (2, y, x) float64 where it lies in the neurites' space.
    """

    owner: np.ndarray
    depth: np.ndarray
    place: np.ndarray


class Tissue:
    """The neurites with wrinkled outlines; may be cut at any height."""

    def __init__(self, neurites: Neurites, seed: int, sections: int, side: int):
        self.neurites = neurites
        self.side = side
        rng = generator(seed, 3)
        shape = (sections, side, side)
        self._warps = [
            (amplitude, SmoothField(rng, shape, scale, depth), SmoothField(rng, shape, scale, depth))
            for scale, depth, amplitude in _WARPS
        ]
        self._shifts = 2.5 * rng.standard_normal((sections, 2, 1, 1))
        self._strains = [[SmoothField(rng, (1, side, side), 120, 1) for _ in range(2)] for _ in range(sections)]

    def warp(self, z: float) -> np.ndarray:
        """(2, y, x) float64: the place in the neurites' space which each pixel shows."""
        section = min(max(round(z), 0), len(self._shifts) - 1)
        grid = np.mgrid[: self.side, : self.side] + self._shifts[section]
        grid += _STRAIN * np.stack([field.plane(0) for field in self._strains[section]])
        for amplitude, *fields in self._warps:
            grid += amplitude * np.stack([field.plane(z) for field in fields])
        return grid

    def cut(self, z: float) -> Outlines:
        """Partition the plane: a pixel belongs to the disc whose rim is nearest (additively weighted Voronoi)."""
        place = self.warp(z)
        nearest = np.full((self.side, self.side), np.inf)
        second, owner = nearest.copy(), np.full(nearest.shape, -1)
        centres, radii = self.neurites.centres(z), self.neurites.radii(z)
        for cell, discs in enumerate(self.neurites.chains()):
            alive = discs[radii[discs] > _ENDED]
            window = self._window(centres[alive], radii[alive])
            if window is not None:
                rim = _distance(place[(slice(None), *window)], centres[alive], radii[alive])
                _compete(cell, rim, nearest[window], second[window], owner[window])
        return Outlines(owner, np.where(np.isfinite(second), (second - nearest) / 2, _REACH), place)

    def _window(self, centres: np.ndarray, radii: np.ndarray) -> tuple[slice, slice] | None:
        """The pixels which a cell may own or bound; None where it lies outside the picture."""
        if not radii.size:
            return None
        reach = (radii + _REACH)[:, None]
        low = np.clip(np.floor((centres - reach).min(0)), 0, self.side).astype(int)
        high = np.clip(np.ceil((centres + reach).max(0)), 0, self.side).astype(int)
        return (slice(low[0], high[0]), slice(low[1], high[1])) if (high > low).all() else None


def _distance(place: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Distance to the rim of a chain of discs, negative inside."""
    distances = (np.hypot(place[0] - y, place[1] - x) - r for (y, x), r in zip(centres, radii, strict=True))
    return np.minimum.reduce(list(distances))


def _compete(cell: int, rim: np.ndarray, nearest: np.ndarray, second: np.ndarray, owner: np.ndarray) -> None:
    """Enter one cell into the running two smallest distances, in place."""
    wins = rim < nearest
    np.copyto(second, np.where(wins, nearest, np.minimum(second, rim)))
    np.copyto(nearest, rim, where=wins)
    np.copyto(owner, cell, where=wins)
