"""Split touching objects; each object is split once, by the first block that contains a voxel of it.

::

    boxes    every block: the boxes of the objects in it
    places   once: the complete box of every object, stored for each block that the object touches
    split    every block: the parts of the objects of which it contains the first voxel
    Parts    a view: the numbers of the parts, which `tiler.jobs.components` turns into objects again

Touching parts have different numbers, and objects do not touch, so touching voxels of one number form one part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tiler.geometry import Box, Grid, Shape, hull
from tiler.jobs.components import Readable
from tiler.objects.measures import Measures, Total
from tiler.objects.splitting import Watershed
from tiler.ports import Array, Json
from tiler.stores.shelf import Shelf


class Place(NamedTuple):
    """Box of an object, and the block that splits it: the first that contains a voxel of it."""

    box: Box
    owner: int


Objects = dict[int, Place]


@dataclass(frozen=True, slots=True)
class Numbered:
    """Objects with their numbers.

    Parameters
    ----------
    ids
        Sink that holds the objects; 0 is background.
    grid
        Blocks in voxels of the output.
    shelf
        Store for the tables that the next stage needs.
    """

    ids: Readable
    grid: Grid
    shelf: Shelf

    @property
    def volume(self) -> Shape:
        return self.grid.region.shape

    def places(self, index: int) -> Objects:
        """Places of the objects in a block, by number; available after the stage "places"."""
        found = self.shelf.get(f"places/{index}")
        rows = zip(*(found[name] for name in ("ids", "starts", "stops", "owners")), strict=True)
        return {int(number): Place(Box.between(start, stop), int(owner)) for number, start, stop, owner in rows}

    def index(self, box: Box) -> int:
        """The number of a block."""
        place = [start // side for start, side in zip(box.start, self.grid.block, strict=True)]
        return int(np.ravel_multi_index(place, self.grid.counts))


@dataclass(frozen=True, slots=True)
class BoxesJob:
    """Find the boxes of the objects in every block: a `tiler.ports.Job`."""

    numbered: Numbered

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return str(self.numbered.grid[index])

    def read(self, index: int) -> Array:
        return self.numbered.ids.read(self.numbered.grid[index])

    def compute(self, index: int, window: Array) -> Measures:
        box = self.numbered.grid[index]
        return Measures.of(window[0], np.zeros((0, *box.shape)), box.start)

    def write(self, index: int, result: Measures) -> Json:
        self.numbered.shelf.put(f"boxes/{index}",
                                {"ids": result.ids, "starts": result.starts, "stops": result.stops})
        return {"count": len(result.ids)}


@dataclass(frozen=True, slots=True)
class PlacesJob:
    """Merge the boxes of all objects, as a single block: a `tiler.ports.Job`."""

    numbered: Numbered

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return "the boxes of all objects"

    def read(self, index: int) -> Measures:
        total = Total()
        for block in range(len(self.numbered.grid)):
            total.add(self._boxes(block))
        return total.result()

    def compute(self, index: int, window: Measures) -> Measures:
        return window

    def write(self, index: int, result: Measures) -> Json:
        owners = np.zeros(len(result.ids), np.int64)
        for block in reversed(range(len(self.numbered.grid))):
            owners[self._rows(block, result)] = block
        for block in range(len(self.numbered.grid)):
            rows = self._rows(block, result)
            self.numbered.shelf.put(f"places/{block}", {
                "ids": result.ids[rows], "starts": result.starts[rows], "stops": result.stops[rows],
                "owners": owners[rows]})
        return {"count": len(result.ids)}

    def _rows(self, block: int, table: Measures) -> Array:
        """Place of a block's objects in the joint table."""
        return np.searchsorted(table.ids, self.numbered.shelf.get(f"boxes/{block}")["ids"])

    def _boxes(self, block: int) -> Measures:
        found = self.numbered.shelf.get(f"boxes/{block}")
        nothing = np.zeros(len(found["ids"]), np.int64)
        return Measures(found["ids"], nothing, np.stack([nothing] * 3, axis=1), found["starts"], found["stops"])


@dataclass(frozen=True, slots=True)
class SplitJob:
    """Split the objects whose first voxel lies in a block: a `tiler.ports.Job`.

    Parameters
    ----------
    numbered
        Objects with known places.
    watershed
        Rule for splitting.
    depth
        Map to flood, with one channel; None for distances.
    """

    numbered: Numbered
    watershed: Watershed
    depth: Readable | None = None

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return str(self.numbered.grid[index])

    def read(self, index: int) -> tuple[Objects, Objects]:
        """The objects that a block splits, and those that are too large."""
        here = self.numbered
        own = {number: place for number, place in here.places(index).items() if place.owner == index}
        small = {number: place for number, place in own.items() if self.watershed.splits(place.box)}
        return small, {number: place for number, place in own.items() if number not in small}

    def compute(self, index: int, window: tuple[Objects, Objects]) -> tuple[dict[str, Array], int]:
        parts = {}
        for number, box, ids, depth in self._cut(window[0]):
            found = self.watershed.parts(ids == number, box, self.numbered.volume, depth)
            if found.max(initial=0) > 1:
                parts[str(number)] = found.astype(np.min_scalar_type(int(found.max())))
        return parts, len(window[1])

    def write(self, index: int, result: tuple[dict[str, Array], int]) -> Json:
        parts, whole = result
        self.numbered.shelf.put(f"parts/{index}", parts)
        return {"split": len(parts), "too_large": whole}

    def _cut(self, objects: Objects) -> Iterator[tuple[int, Box, Array, Array | None]]:
        """Yield every object with the numbers and the depth in its box; small objects are read together."""
        together = [box for box, _ in objects.values() if self._small(box)]
        window = self._window(hull(together)) if together else None
        for number, (box, _) in objects.items():
            around, ids, depth = window if window is not None and self._small(box) else self._window(box)
            inner = box.back(around.start).slices
            yield number, box, ids[inner], None if depth is None else depth[inner]

    def _small(self, box: Box) -> bool:
        return all(2 * side <= block for side, block in zip(box.shape, self.numbered.grid.block, strict=True))

    def _window(self, box: Box) -> tuple[Box, Array, Array | None]:
        depth = None if self.depth is None else self.depth.read(box)[0].astype(np.float64)
        return box, self.numbered.ids.read(box)[0], depth


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of all objects as labels, read by block; an unsplit object is a single part, number 1."""

    numbered: Numbered

    @property
    def name(self) -> str:
        return str(self.numbered.ids.name)

    def read(self, box: Box) -> Array:
        """``(1, *box.shape)`` uint32: the numbers of the parts in one of the blocks."""
        here = self.numbered
        (ids,) = here.ids.read(box)
        parts: Array = (ids > 0).astype(np.uint32)
        places = here.places(here.index(box))
        split = {owner: here.shelf.get(f"parts/{owner}") for _, owner in places.values()}
        for number, (whole, owner) in places.items():
            if str(number) in split[owner]:
                shared = whole.intersect(box)
                inside = ids[shared.back(box.start).slices] == number
                numbers = split[owner][str(number)][shared.back(whole.start).slices]
                parts[shared.back(box.start).slices][inside] = numbers[inside]
        return parts[None]
