"""How objects are made of labels: the options of instances as one value."""

from __future__ import annotations

from dataclasses import dataclass

from tiler.errors import PlanError
from tiler.objects.connectivity import Connectivity
from tiler.ports import Json


@dataclass(frozen=True, slots=True)
class Rules:
    """How objects are made.

    Parameters
    ----------
    connectivity
        Which voxels touch.
    min_size
        Objects of fewer voxels are dropped.
    link
        Least intersection over union of objects of two sections that become one; None where they are not linked.

    Raises
    ------
    PlanError
        If objects of volumes are to be linked.
    """

    connectivity: Connectivity
    min_size: int = 0
    link: float | None = None

    def __post_init__(self) -> None:
        if self.link is not None and not self.connectivity.flat:
            raise PlanError(f"objects of {self.connectivity.neighbours} neighbours go through the volume already: "
                            "leave out `link`, or say `connectivity=4`")

    @property
    def through_volume(self) -> bool:
        """Whether an object may have voxels in several sections."""
        return not self.connectivity.flat or self.link is not None

    def to_json(self) -> Json:
        """What can change the objects."""
        return {"connectivity": self.connectivity.neighbours, "min_size": self.min_size, "link": self.link}


def default_connectivity(flat: bool) -> int:
    """By sections for networks of slices, through the volume for networks of volumes."""
    return 4 if flat else 6
