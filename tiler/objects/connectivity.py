"""Which voxels are neighbours: of a section (4, 8), or of a volume (6, 18, 26)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from tiler.errors import PlanError
from tiler.geometry import Shape

REACH = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}
"""For each number of neighbours: along how many axes at once a neighbour may lie one voxel away."""


@dataclass(frozen=True, slots=True)
class Connectivity:
    """Which voxels touch.

    Parameters
    ----------
    neighbours
        4 or 8: voxels of one section; every section has objects of its own. 6, 18 or 26: voxels of a volume that share
        a face; also an edge; also a corner.

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
        """Whether every section has objects of its own."""
        return self.neighbours in (4, 8)

    @property
    def steps(self) -> tuple[Shape, ...]:
        """The ``(z, y, x)`` offsets of all neighbours."""
        reach = REACH[self.neighbours]
        return tuple(step for step in product((-1, 0, 1), repeat=3)
                     if 0 < sum(map(abs, step)) <= reach and not (self.flat and step[0]))

    @property
    def structure(self) -> npt.NDArray[np.bool_]:
        """(3, 3, 3): a voxel and its neighbours, as `scipy.ndimage` takes them."""
        found = np.zeros((3, 3, 3), bool)
        for z, y, x in (*self.steps, (0, 0, 0)):
            found[z + 1, y + 1, x + 1] = True
        return found
