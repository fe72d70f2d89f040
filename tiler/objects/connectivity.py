"""Neighbourhoods of voxels: within a section (4, 8), or in a volume (6, 18, 26)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from tiler.errors import PlanError
from tiler.geometry import Shape

REACH = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}
"""Largest number of axes along which a neighbour differs by one voxel, by the number of neighbours."""


@dataclass(frozen=True, slots=True)
class Connectivity:
    """Neighbourhood of a voxel.

    Parameters
    ----------
    neighbours
        4 or 8: voxels of one section, so that every section has its own objects. 6, 18 or 26: voxels of a volume that
        share a face, at least an edge, or at least a corner.

    Raises
    ------
    PlanError
        For any other number.
    """

    neighbours: int

    def __post_init__(self) -> None:
        if self.neighbours not in REACH:
            raise PlanError("a voxel has 4 or 8 neighbours in its section, or 6, 18 or 26 in the volume; got "
                            f"{self.neighbours}", option="connectivity")

    @property
    def flat(self) -> bool:
        """Whether every section has its own objects."""
        return self.neighbours in (4, 8)

    @property
    def steps(self) -> tuple[Shape, ...]:
        """The ``(z, y, x)`` offsets of all neighbours."""
        reach = REACH[self.neighbours]
        return tuple(step for step in product((-1, 0, 1), repeat=3)
                     if 0 < sum(map(abs, step)) <= reach and not (self.flat and step[0]))

    @property
    def structure(self) -> npt.NDArray[np.bool_]:
        """``(3, 3, 3)``: a voxel and its neighbours, as a structure for `scipy.ndimage`."""
        found = np.zeros((3, 3, 3), bool)
        for z, y, x in (*self.steps, (0, 0, 0)):
            found[z + 1, y + 1, x + 1] = True
        return found
