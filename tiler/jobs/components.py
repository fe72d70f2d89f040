"""Make objects of a volume from its labels, in three stages over the same blocks.

::

    components   every block: label it, store the table of its components and its outermost planes
    merge        once: join components that touch across blocks, number the objects by their first voxel
    objects      every block: label it again, write the numbers

A component consists of neighbouring voxels of one label. The numbers equal those of labelling the whole volume at once
and do not depend on the blocks. Memory holds a block, two faces and the table of all components; a large table lies in
a temporary file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tiler.errors import PlanError
from tiler.geometry import Box, Grid
from tiler.jobs.linked_sections import Sections, join_sections
from tiler.jobs.segment import checksum, stamped
from tiler.objects.components import Ids, Table, components_of, describe
from tiler.objects.connectivity import Connectivity
from tiler.objects.faces import faces_of, neighbours_of, touching
from tiler.objects.groups import Groups, renumbered, roomy
from tiler.objects.linking import overlaps_within
from tiler.ports import Array, Json, Sink
from tiler.stores.shelf import Shelf


class Readable(Protocol):
    """An array that can be read by region: the sink of an earlier stage, or a view of one."""

    @property
    def name(self) -> str: ...

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)``."""
        ...


@dataclass(frozen=True, slots=True)
class Threshold:
    """Labels of a staged probability: 1 above the threshold."""

    probability: Readable
    threshold: float

    @property
    def name(self) -> str:
        return str(self.probability.name)

    def read(self, box: Box) -> Array:
        """``(1, *box.shape)`` uint8."""
        found: Array = (self.probability.read(box) > self.threshold).astype(np.uint8)
        return found


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labels from which objects are made.

    Parameters
    ----------
    labels
        Sink or view that holds them; 0 is background.
    grid
        Blocks in voxels of the output; whole write units of the sinks.
    connectivity
        Voxels that count as neighbours.
    shelf
        Store for the tables that the next stage needs.
    link
        Least intersection over union at which objects of two sections are joined, see `tiler.objects.linking`; None
        to keep them apart. Needs a connectivity within sections.
    """

    labels: Readable
    grid: Grid
    connectivity: Connectivity
    shelf: Shelf
    link: float | None = None

    def read(self, index: int) -> Array:
        """(z, y, x): the labels of a block."""
        (labels,) = self.labels.read(self.grid[index])
        return np.asarray(labels)


class Keep(Protocol):
    """Chooses what a stage of components stores of a block for the next one, beside its outermost planes."""

    def __call__(self, labelled: Labelled, index: int, ids: Array, table: Table) -> dict[str, Array]:
        """``(n,)`` columns of the table of the block's components, and further arrays.

        Parameters
        ----------
        labelled, index
            Labels, and the number of the block.
        ids
            ``(z, y, x)``: the components, numbered from 1.
        table
            Their sizes, first voxels and values.
        """
        ...


def for_objects(labelled: Labelled, index: int, ids: Array, table: Table) -> dict[str, Array]:
    """Sizes, first voxels and values, from which objects are made."""
    within = {} if labelled.link is None else {"within": overlaps_within(ids)}
    return {"sizes": table.sizes, "firsts": table.firsts, "values": table.values, **within}


@dataclass(frozen=True, slots=True)
class ComponentsJob:
    """Label the components of every block: a `tiler.ports.Job`.

    Parameters
    ----------
    labelled
        Labels whose components are found.
    keep
        What the next stage needs of a block.
    """

    labelled: Labelled
    keep: Keep = for_objects

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return str(self.labelled.grid[index])

    def read(self, index: int) -> Array:
        return self.labelled.read(index)

    def compute(self, index: int, window: Array) -> dict[str, Array]:
        """The kept part of a block's components, and its outermost planes."""
        here = self.labelled
        ids = components_of(window, here.connectivity)
        table = describe(ids, window, here.grid[index], here.grid.region.shape)
        return {**self.keep(here, index, ids, table), **faces_of(ids, here.connectivity.flat and here.link is None)}

    def write(self, index: int, result: dict[str, Array]) -> Json:
        self.labelled.shelf.put(f"components/{index}", result)
        return {"count": len(result["values"])}


@dataclass(frozen=True, slots=True)
class MergeJob:
    """Merge all components into objects, as a single block: a `tiler.ports.Job`.

    Parameters
    ----------
    labelled
        Labels from which the objects are made.
    counts
        Number of components in each block.
    min_size
        Objects of fewer voxels are dropped.
    dtype
        Type of the output, which must hold the largest number.
    """

    labelled: Labelled
    counts: tuple[int, ...]
    min_size: int
    dtype: np.dtype[np.unsignedinteger]

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return "the faces of all blocks"

    def read(self, index: int) -> Ids:
        return starts_of(self.counts)

    def compute(self, index: int, window: Ids) -> tuple[Ids, Ids, int]:
        shelf = self.labelled.shelf
        sizes, firsts, values = (column(shelf, name, window) for name in ("sizes", "firsts", "values"))
        groups = joined(self.labelled, values, window)
        if self.labelled.link is not None:
            groups.gather(sizes, firsts)
            join_sections(Sections(shelf, self.labelled.grid.counts, window, groups.parent, sizes, firsts,
                                   values), self.labelled.link, groups)
        numbers, count = groups.numbers(sizes, firsts, self.min_size)
        limit = int(np.iinfo(self.dtype).max)
        if count > limit:
            raise PlanError(f"there are {count} objects, {self.dtype} counts to {limit}: use a larger "
                            "`dtype` or a larger `min_size`")
        return window, numbers, count

    def write(self, index: int, result: tuple[Ids, Ids, int]) -> Json:
        starts, numbers, count = result
        for block in range(len(self.counts)):
            self.labelled.shelf.put(f"numbers/{block}", {"numbers": numbers[starts[block]:starts[block + 1]]})
        return {"count": count}


def starts_of(counts: tuple[int, ...]) -> Ids:
    """``(blocks + 1,)``: index of the first component of each block in the joint table."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def column(shelf: Shelf, name: str, starts: Ids) -> Ids:
    """``(n,)``: one column of the tables of all blocks."""
    found = roomy(int(starts[-1]))
    for block in range(len(starts) - 1):
        found[starts[block]:starts[block + 1]] = shelf.get(f"components/{block}")[name]
    return found


def joined(labelled: Labelled, values: Ids, starts: Ids) -> Groups:
    """Join components of all blocks if voxels of one label touch across blocks."""
    groups = Groups(int(starts[-1]))
    for block in range(len(labelled.grid)):
        faces = labelled.shelf.get(f"components/{block}")
        for direction, other in neighbours_of(block, labelled.grid.counts, labelled.connectivity):
            pairs = touching(faces, labelled.shelf.get(f"components/{other}"), direction, labelled.connectivity)
            first, second = pairs - 1 + starts[[block, other]][:, None]
            same = values[first] == values[second]
            groups.join(first[same], second[same])
    return groups


@dataclass(frozen=True, slots=True)
class NumberJob:
    """Write the object numbers of every block: a `tiler.ports.Job`.

    Parameters
    ----------
    labelled
        Labels from which the objects are made.
    sink
        Sink for the object numbers.
    dtype
        Type of the numbers.
    """

    labelled: Labelled
    sink: Sink
    dtype: np.dtype[np.unsignedinteger]

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return str(self.labelled.grid[index])

    def read(self, index: int) -> tuple[Array, Ids]:
        return self.labelled.read(index), self.labelled.shelf.get(f"numbers/{index}")["numbers"]

    def compute(self, index: int, window: tuple[Array, Ids]) -> Array:
        labels, numbers = window
        return renumbered(components_of(labels, self.labelled.connectivity), numbers, self.dtype)[None]

    def write(self, index: int, result: Array) -> Json:
        box = self.labelled.grid[index]
        self.sink.write(box, result)
        return {"checksum": checksum(result), **stamped(self.sink, [box])}
