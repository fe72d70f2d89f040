"""Outline the objects of an output section by section, in two stages over the same blocks.

::

    outlines   every block: outlines of the objects inside it, and the boxes of those that its borders cut
    rois       once: outlines of the objects that were cut, each read in its box; all of them as one file

Memory holds a block, or the box of one object in one section, and the outlines of one layer of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiler.geometry import Box, Grid, Span
from tiler.jobs.components import Readable
from tiler.objects.outlines import Points, outlines_of, places_of
from tiler.objects.roi_files import Outline, write_rois
from tiler.ports import Array, Json
from tiler.stores.shelf import Shelf

Ints = npt.NDArray[np.int64]
LIMIT = 1 << 26
"""Pixels of the box of an object in one section; larger ones are not outlined."""


@dataclass(frozen=True, slots=True)
class OutlineJob:
    """Outline the objects in every block: a `tiler.ports.Job`.

    Parameters
    ----------
    ids
        The numbered objects.
    grid
        Blocks in voxels of the output.
    shelf
        Store for the outlines.
    """

    ids: Readable
    grid: Grid
    shelf: Shelf

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return str(self.grid[index])

    def read(self, index: int) -> Array:
        (ids,) = self.ids.read(self.grid[index])
        return np.asarray(ids)

    def compute(self, index: int, window: Array) -> dict[str, Array]:
        """Outlines as rows ``(section, id)`` with their corners, and boxes ``(section, id, y, y, x, x)``."""
        box, rows, corners, cut = self.grid[index], list[tuple[int, int]](), list[Points](), list[tuple[int, ...]]()
        for z, ids in enumerate(window, box.start[0]):
            at_border = self._at_border(ids, box)
            cut += [(z, *each) for each in _boxes(np.where(np.isin(ids, at_border), ids, 0), box.start[1:])]
            for number, points in outlines_of(np.where(np.isin(ids, at_border), 0, ids)):
                rows.append((z, number))
                corners.append(points + np.array(box.start[1:], np.int32))
        return {"rows": np.array(rows, np.int64).reshape(-1, 2), "lengths": np.array(list(map(len, corners)), np.int64),
                "corners": np.concatenate([np.zeros((0, 2), np.int32), *corners]),
                "cut": np.array(cut, np.int64).reshape(-1, 6)}

    def write(self, index: int, result: dict[str, Array]) -> Json:
        self.shelf.put(f"outlines/{index}", result)
        return {"count": len(result["rows"])}

    def _at_border(self, ids: Array, box: Box) -> Array:
        """Numbers of the objects that another block may hold more of."""
        found = []
        for axis, (span, whole) in enumerate(zip(box.spans[1:], self.grid.region.spans[1:], strict=True)):
            if span.start > whole.start:
                found.append(ids.take(0, axis))
            if span.stop < whole.stop:
                found.append(ids.take(-1, axis))
        return np.unique(np.concatenate(found)) if found else np.zeros(0, ids.dtype)


def _boxes(ids: Array, start: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Number and half-open box y, y, x, x of each object in a part of a section."""
    top, left = start
    for number, (y, x) in places_of(ids):
        yield number, y.start + top, y.stop + top, x.start + left, x.stop + left


@dataclass(frozen=True, slots=True)
class RoisJob:
    """Write the outlines of all blocks, by section and number, as a single block: a `tiler.ports.Job`.

    Parameters
    ----------
    outlined
        The job that outlined the blocks.
    path
        File to write; its folder is made if there is none.
    """

    outlined: OutlineJob
    path: Path

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return "the objects of all blocks"

    def read(self, index: int) -> None:
        return None

    def compute(self, index: int, window: None) -> None:
        return None

    def write(self, index: int, result: None) -> Json:
        too_large = list[int]()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        count = write_rois(self._outlines(too_large), self.path)
        return {"count": count, "too_large": len(too_large)}

    def _outlines(self, too_large: list[int]) -> Iterator[Outline]:
        grid = self.outlined.grid
        across = grid.counts[1] * grid.counts[2]
        for layer in range(grid.counts[0]):
            sets = [self.outlined.shelf.get(f"outlines/{layer * across + place}") for place in range(across)]
            whole = [outline for each in sets for outline in _unpacked(each["rows"], each["lengths"], each["corners"])]
            boxes = np.concatenate([each["cut"] for each in sets])
            # Boxes of cut objects may hold other pieces of them, which are outlined with them.
            cut = set(map(tuple, boxes[:, :2].tolist()))
            others = [_box_of(outline) for outline in whole if (outline.section, outline.number) in cut]
            whole = [outline for outline in whole if (outline.section, outline.number) not in cut]
            whole += self._cut(np.concatenate([boxes, np.array(others, np.int64).reshape(-1, 6)]), too_large)
            yield from sorted(whole, key=lambda outline: (outline.section, outline.number))

    def _cut(self, boxes: Ints, too_large: list[int]) -> Iterator[Outline]:
        """Outlines of objects in several blocks, from the hull of their boxes in a section."""
        rows, place = np.unique(boxes[:, :2], axis=0, return_inverse=True)
        hulls = np.tile(np.array([np.iinfo(np.int64).max, 0] * 2), (len(rows), 1))
        for column, extreme in enumerate((np.minimum, np.maximum, np.minimum, np.maximum)):
            extreme.at(hulls[:, column], place.ravel(), boxes[:, 2 + column])
        for (z, number), (top, bottom, left, right) in zip(rows.tolist(), hulls.tolist(), strict=True):
            if (bottom - top) * (right - left) > LIMIT:
                too_large.append(number)
                continue
            ids = self.outlined.ids.read(Box((Span(z, z + 1), Span(top, bottom), Span(left, right))))[0, 0]
            for _, points in outlines_of(np.where(ids == number, ids, 0)):
                yield Outline(z, number, points + np.array([top, left], np.int32))


def _box_of(outline: Outline) -> tuple[int, ...]:
    (top, left), (bottom, right) = outline.corners.min(axis=0).tolist(), outline.corners.max(axis=0).tolist()
    return outline.section, outline.number, top, bottom, left, right


def _unpacked(rows: Array, lengths: Array, corners: Array) -> Iterator[Outline]:
    parts = np.split(corners, np.cumsum(lengths)[:-1]) if len(lengths) else []
    for (z, number), points in zip(rows.tolist(), parts, strict=True):
        yield Outline(z, number, points)
