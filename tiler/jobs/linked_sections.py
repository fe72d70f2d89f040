"""Link the objects of neighbouring sections into objects of the volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tiler.geometry import Shape
from tiler.objects.groups import Groups, Ids
from tiler.objects.linking import links, overlap_of
from tiler.stores.shelf import Shelf


@dataclass(frozen=True, slots=True, eq=False)
class Sections:
    """Objects of sections; each is complete within its section.

    Parameters
    ----------
    shelf
        Store with the components of every block, their overlaps and outermost planes.
    blocks
        ``(z, y, x)`` number of blocks.
    starts
        ``(blocks + 1,)`` index of the first component of each block in the tables.
    roots
        ``(n,)`` root of each component's group; not changed.
    sizes, firsts, values
        ``(n,)`` number of voxels, first voxel and label; an object has its values at its root.
    """

    shelf: Shelf
    blocks: Shape
    starts: Ids
    roots: Ids
    sizes: Ids
    firsts: Ids
    values: Ids

    def links(self, least: float) -> Iterator[Ids]:
        """(2, n): roots of objects that are linked, of one layer of blocks after the other."""
        across = int(np.prod(self.blocks[1:]))
        for layer in range(self.blocks[0]):
            here = range(layer * across, (layer + 1) * across)
            yield self._linked([self._within(block) for block in here], least)
            if layer + 1 < self.blocks[0]:
                yield self._linked([self._between(block, block + across) for block in here], least)

    def _within(self, block: int) -> Ids:
        return self._rooted(self.shelf.get(f"components/{block}")["within"], block, block)

    def _between(self, above: int, below: int) -> Ids:
        upper, lower = (self.shelf.get(f"components/{block}") for block in (above, below))
        return self._rooted(overlap_of(upper["z1"], lower["z0"]), above, below)

    def _rooted(self, overlap: Ids, above: int, below: int) -> Ids:
        """``(3, n)``: overlaps of objects instead of components, for pairs with the same label."""
        first, second = overlap[:2] - 1 + self.starts[[above, below]][:, None]
        same = self.values[first] == self.values[second]
        return np.stack([self.roots[first], self.roots[second], overlap[2]])[:, same]

    def _linked(self, overlaps: Sequence[Ids], least: float) -> Ids:
        return links(overlaps, self.sizes, self.firsts, least)


def join_sections(sections: Sections, least: float, groups: Groups) -> None:
    """Join all linked objects, once all links are known."""
    for first, second in list(sections.links(least)):
        groups.join(first, second)
