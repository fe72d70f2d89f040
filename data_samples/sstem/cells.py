"""Neurites: chains of discs that drift, swell and push each other from section to section."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from .noise import SmoothField, generator, log_uniform, uniform

MARGIN = 90.0
"""Width, in pixels, of the zone around the picture which is also filled with cells."""

_MAP = 64
"""Rows and columns of the maps which hold the directions and the flow of a neighbourhood."""

# (smallest and largest radius in pixels, attempts in a field of 512 pixels with its margin, longest chain), from
# trunks down to the finest neurites
_CLASSES = (
    (48, 80, 13, 2),
    (25, 46, 120, 4),
    (14, 25, 900, 7),
    (10, 15, 2200, 8),
    (6.5, 10, 2600, 6),
)


@dataclass(frozen=True)
class Neurites:
    """Every disc of every cell, along the stack.

    `owner` (discs,) is the cell of each disc, counted from 0. At a height, `centres` gives (discs, 2) y and x, and
    `radii` (discs,); `calibre` (discs,) is what the radii swing around.
    """

    owner: np.ndarray
    centres: CubicSpline
    radii: CubicSpline
    calibre: np.ndarray

    @property
    def count(self) -> int:
        return int(self.owner[-1]) + 1

    def chains(self) -> list[np.ndarray]:
        """Give the indices of the discs of each cell."""
        return np.split(np.arange(self.owner.size), np.flatnonzero(np.diff(self.owner)) + 1)


def grow(seed: int, sections: int, side: int) -> Neurites:
    """Fill a field of `side` pixels with cells and follow them through the stack."""
    rng = generator(seed, 1)
    centres, radii, owner = _pack(rng, side)
    heights = np.arange(-1, sections + 1)
    path = _drift(generator(seed, 2), centres, radii, owner, len(heights), side)
    widths = _swell(rng, radii, owner, heights)
    return Neurites(owner, CubicSpline(heights, path), CubicSpline(heights, widths), radii)


def _pack(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random sequential packing of chains, the widest first."""
    centres, radii, owner = np.empty((0, 2)), np.empty(0), np.empty(0, int)
    cells = 0
    bend = SmoothField(rng, (1, _MAP, _MAP), 12, 1).plane(0)
    field = ((side + 2 * MARGIN) / (512 + 2 * MARGIN)) ** 2
    for low, high, attempts, longest in _CLASSES:
        for _ in range(round(attempts * field)):
            chain, radius = _chain(rng, side, bend, log_uniform(rng, low, high), longest)
            gap = np.hypot(*(chain[:, None] - centres[None]).transpose(2, 0, 1)) - radius - radii
            if gap.size and gap.min() < -0.12 * radius:
                continue
            centres = np.concatenate([centres, chain])
            radii = np.concatenate([radii, np.full(len(chain), radius)])
            owner = np.concatenate([owner, np.full(len(chain), cells)])
            cells += 1
    return centres, radii, owner


def _on_map(points: np.ndarray, side: int) -> np.ndarray:
    """Row and column of each point on a map of the whole field."""
    return np.clip((points + MARGIN) / (side + 2 * MARGIN) * (_MAP - 1), 0, _MAP - 1).astype(int)


def _chain(rng: np.random.Generator, side: int, bend: np.ndarray, radius: float, longest: int):
    """One cell: discs in a row which turns slowly and follows the direction of its neighbourhood."""
    start = uniform(rng, -MARGIN, side + MARGIN, 2)
    row, column = _on_map(start, side)
    length = 1 + int(longest * rng.random())
    angles = 2.2 * bend[row, column] + np.cumsum(0.25 * rng.standard_normal(length))
    steps = 1.15 * radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return start + np.cumsum(steps, axis=0) - steps[0], radius


def _swell(rng: np.random.Generator, radii: np.ndarray, owner: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """(heights, discs): each disc breathes; some fine cells end inside the stack."""
    depth, period, phase = (uniform(rng, *span, radii.size) for span in ((0.05, 0.22), (4, 9), (0, 2 * np.pi)))
    wave = 1 + depth * np.sin(2 * np.pi * heights[:, None] / period + phase)
    cells = owner[-1] + 1
    end, sign = uniform(rng, -1, heights[-1], cells), np.where(rng.random(cells) < 0.5, -1, 1)
    ends = (rng.random(cells) < 0.22)[owner] & (radii < 16)
    beyond = np.clip(sign[owner] * (heights[:, None] - end[owner]), 0, None) * ends
    return radii * wave - 9 * beyond


def _drift(rng: np.random.Generator, centres, radii, owner, steps: int, side: int) -> np.ndarray:
    """(steps, discs, 2): a common flow and a walk of each cell, after which overlaps are pushed apart.

    The walk starts in the middle of the stack, where the packing was made, and runs both ways.
    """
    flow = [SmoothField(rng, (steps, _MAP, _MAP), 14, 4) for _ in range(2)]
    own = 1.6 * rng.standard_normal((owner[-1] + 1, 2))
    path = np.empty((steps, *centres.shape))
    middle = steps // 2
    path[middle] = _relax(centres, radii, owner)
    for direction in (1, -1):
        velocity = own * direction
        for step in range(middle + direction, steps if direction > 0 else -1, direction):
            before = path[step - direction]
            velocity = 0.8 * velocity + 1.2 * rng.standard_normal(own.shape)
            row, column = _on_map(before, side).T
            common = np.stack([field.plane(step)[row, column] for field in flow], axis=1)
            path[step] = _relax(before + 3.2 * direction * common + velocity[owner], radii, owner)
    return path


def _relax(centres: np.ndarray, radii: np.ndarray, owner: np.ndarray, rounds: int = 12) -> np.ndarray:
    """Push overlapping discs of different cells apart, the smaller one more; pull chains together."""
    foreign = owner[:, None] != owner[None]
    reach, weight = radii[:, None] + radii[None], radii**2
    yields = weight[None] / (weight[:, None] + weight[None])
    linked = owner[1:] == owner[:-1]
    for _ in range(rounds):
        offset = centres[:, None] - centres[None]
        distance = np.hypot(offset[..., 0], offset[..., 1]) + 1e-9
        push = np.clip(reach - distance, 0, None) * foreign * yields * 0.5
        centres = centres + (offset * (push / distance)[..., None]).sum(1)
        link = centres[1:] - centres[:-1]
        length = np.hypot(link[:, 0], link[:, 1]) + 1e-9
        pull = np.where(linked, 0.3 * (length - 1.15 * radii[1:]) / length, 0)[:, None] * link
        centres[:-1] += pull
        centres[1:] -= pull
    return centres
