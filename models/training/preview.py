"""A sheet of augmented tiles, as the network will see them, for inspection before the first step.

Each row is one tile: the image, the image with the labels over it, and the weights of its pixels. The labels cover
the part of the tile for which the network gives an output. For volumes the middle plane is shown.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiler.models.training.checkpoint import write_whole
from tiler.models.training.tiles import TileSampler
from tiler.ports import Array

ROWS = 6
"""Number of tiles on the sheet."""
RIM = 4
"""Pixels between two pictures."""
OBJECT, GROUND = (0, 160, 255), (255, 120, 0)
"""Overlay colours (red, green, blue) of object and background."""
Picture = npt.NDArray[np.uint8]


def write_preview(sampler: TileSampler, path: Path) -> None:
    """Write the tiles of the first steps as PNG.

    Raises
    ------
    SinkError
        If it cannot be written.
    """
    import imagecodecs

    steps = -(-ROWS // sampler.batch)
    drawn = [row for step in range(steps) for row in _rows(sampler, step)][:ROWS]
    sheet = np.ascontiguousarray(np.concatenate(drawn))
    write_whole(path, lambda new: new.write_bytes(imagecodecs.png_encode(sheet)), "the preview")


def _rows(sampler: TileSampler, step: int) -> list[Picture]:
    tiles, window = sampler(step), sampler.window
    inside = window.inside[-2:]
    return [_row(image, classes, weights, inside)
            for image, classes, weights in zip(_middle(tiles.images[:, 0], window.offset, window.size),
                                               _middle(tiles.classes), _middle(tiles.weights), strict=True)]


def _middle(stack: Array, offset: tuple[int, ...] = (0,), size: tuple[int, ...] | None = None) -> Array:
    """``(n, y, x)`` of ``(n, [z], y, x)``: the plane in the middle of the output."""
    if stack.ndim == 3:
        return stack
    return stack[:, offset[0] + (stack.shape[1] if size is None else size[0]) // 2]


def _row(image: Array, classes: Array, weights: Array, inside: tuple[slice, ...]) -> Picture:
    """``(y, 3 x, 3)`` uint8: one tile's three pictures side by side."""
    grey = np.repeat(_stretched(image)[..., None], 3, -1)
    labelled, weighted = grey.copy(), np.zeros_like(grey)
    colours = np.where(classes[..., None] > 0, OBJECT, GROUND)
    labelled[inside] = (0.65 * labelled[inside] + 0.35 * colours).astype(np.uint8)
    weighted[inside] = _stretched(np.log1p(weights))[..., None]
    return np.concatenate([np.pad(part, ((0, RIM), (0, RIM), (0, 0)), constant_values=255)
                           for part in (grey, labelled, weighted)], 1)


def _stretched(values: Array) -> Picture:
    """``(y, x)`` uint8: stretched from the first to the 99th percentile."""
    low, high = np.percentile(values, (1, 99))
    if high <= low:
        return np.full(values.shape, 128, np.uint8)
    return (np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
