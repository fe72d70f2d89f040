"""The port of networks that are computed stage by stage, with every stored tensor outside memory.

::

    image -> tensor 0 -> tensor 1 -> ... -> values of the output
             blocks of it, each computed from boxes of the image and of earlier tensors

A tensor has axes of its own, (n, c, [z], y, x) or (n, tokens, c); its boxes have all of them. The last tensor holds the
values of the output, averaged over all orientations, ``(1, channels, [z], y, x)`` of the network's input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from tiler.geometry import Box, Shape, hull
from tiler.ports.volumes import Array, Json


@dataclass(frozen=True, slots=True)
class Load:
    """Memory that the largest block of a tensor takes, in bytes.

    Parameters
    ----------
    read, made
        What is read for it, and the block itself.
    working
        Growth of the process while it is computed, parameters of the network included.
    """

    read: int
    made: int
    working: int


@dataclass(frozen=True)
class StoredTensor:
    """One stage of a network: a tensor that is computed block by block.

    Parameters
    ----------
    layer
        The layer that makes it.
    blocks
        Disjoint boxes of the tensor, in the order in which their statistics are merged.
    dtype
        Type in which it is stored.
    reads
        Numbers of the earlier tensors that its blocks read.
    kept
        Whether it is stored; False if only its statistics are needed.
    load
        Memory of its largest block.
    """

    layer: str
    blocks: Sequence[Box]
    dtype: np.dtype[Any]
    reads: frozenset[int]
    kept: bool
    load: Load

    @cached_property
    def extent(self) -> Box:
        """The box that the blocks cover."""
        return hull(self.blocks)

    @property
    def bytes(self) -> int:
        return self.kept * self.extent.voxels * self.dtype.itemsize

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Starts and stops of all blocks, ``(blocks, axes)``."""
        return np.array([box.start for box in self.blocks]), np.array([box.stop for box in self.blocks])

    def touching(self, box: Box) -> list[int]:
        """Numbers of the blocks that overlap a box."""
        starts, stops = self.bounds
        found = ((starts < np.array(box.stop)) & (stops > np.array(box.start))).all(axis=1)
        return [int(number) for number in np.flatnonzero(found)]


@dataclass(frozen=True, slots=True)
class Needs:
    """Boxes from which a block is computed.

    Parameters
    ----------
    image
        ``(z, y, x)`` of the network's input; None if the block does not read it.
    tensors
        Boxes of earlier tensors, by number.
    """

    image: Box | None
    tensors: Mapping[int, Box]


@dataclass(frozen=True, slots=True)
class Given:
    """Values of the boxes that a block needs.

    Parameters
    ----------
    image
        ``(c, z, y, x)`` in the source's type, or None.
    tensors
        Values by number of the tensor.
    """

    image: Array | None
    tensors: Mapping[int, Array]


class Staging(Protocol):
    """The stages of one network input. Picklable; the plans behind it are made again where it arrives.

    Attributes
    ----------
    tensors
        All tensors in their order; the last one holds the values of the output.
    """

    @property
    def tensors(self) -> Sequence[StoredTensor]: ...

    def needs(self, number: int, block: int) -> Needs:
        """Return the boxes that a block of a tensor is computed from."""
        ...

    def compute(self, number: int, block: int, given: Given, found: Mapping[int, Any]) -> tuple[Array, Json]:
        """Compute a block, contiguous in C order, and its share of the tensor's statistics as JSON.

        Parameters
        ----------
        number, block
            Number of the tensor, and of its block.
        given
            Values of what it needs.
        found
            Statistics of earlier tensors, by number; or of all tensors, by their numbers among the stages of the whole
            input.
        """
        ...

    def merged(self, number: int, parts: Sequence[Json]) -> Any:
        """Return the statistics of a tensor from the shares of all its blocks, in their order."""
        ...

    def written(self, values: Array) -> Array:
        """Convert values ``(1, channels, [z], y, x)`` to ``(k, z, y, x)`` in the type and classes of the output."""
        ...


class Staged(Protocol):
    """A predictor whose network can be computed stage by stage.

    Attributes
    ----------
    voxels
        Largest number of voxels of a block in memory.
    """

    @property
    def voxels(self) -> int: ...

    def of(self, shape: Shape, part: Box, voxels: int, known: bool = False) -> Staging | None:
        """Return the stages of an input; None if the network has none.

        Parameters
        ----------
        shape
            ``(z, y, x)`` of the input; z is 1 for networks of slices.
        part
            ``(z, y, x)`` of the output that is wanted.
        voxels
            Largest number of voxels of a block.
        known
            Whether the statistics of all tensors are known, so that only what the part needs is computed.
        """
        ...
