"""Rules that turn the output of a network into objects: the options of instances as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tiler.errors import PlanError
from tiler.geometry import Shape
from tiler.objects.connectivity import Connectivity
from tiler.objects.growing import Growth
from tiler.objects.splitting import Watershed
from tiler.ports import Json

Seeds = Literal["distance", "probability"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules for making objects, in the order in which they apply.

    Parameters
    ----------
    connectivity
        Voxels that count as neighbours.
    threshold
        Voxels belong to objects if the probability of one class is above it; None if the network gives labels.
    fill_holes
        Whether background that is not connected to the border becomes foreground.
    split
        Watershed that separates touching objects; None to keep them together.
    seeds
        Map to flood: the distance to the outside, or the probability.
    link
        Least intersection over union at which objects of two sections are joined; None to keep them apart.
    min_size
        Objects with fewer voxels are dropped.
    grow
        Distance by which objects grow into the background, in voxels along x.
    sampling
        ``(z, y, x)`` sides of a voxel, relative to x.

    Raises
    ------
    PlanError
        If objects that already extend through the volume are to be linked.
    """

    connectivity: Connectivity
    threshold: float | None = None
    fill_holes: bool = False
    split: Watershed | None = None
    seeds: Seeds = "distance"
    link: float | None = None
    min_size: int = 0
    grow: int = 0
    sampling: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.link is not None and not self.connectivity.flat:
            raise PlanError(f"objects of {self.connectivity.neighbours} neighbours go through the volume already: "
                            "leave out `link`, or say `connectivity=4`")

    @property
    def through_volume(self) -> bool:
        """Whether an object may extend over several sections."""
        return not self.connectivity.flat or self.link is not None

    @property
    def growth(self) -> Growth:
        return Growth(self.grow, self.connectivity.flat, self.sampling)

    def memory(self, volume: Shape) -> int:
        """Bytes that the greediest of the rules takes in a volume of this shape, beside what its blocks take."""
        return 0 if self.split is None else self.split.memory(volume)

    def to_json(self) -> Json:
        """The settings that can change the objects."""
        told: dict[str, Any] = {"connectivity": self.connectivity.neighbours, "threshold": self.threshold,
                "fill_holes": self.fill_holes, "link": self.link, "min_size": self.min_size, "grow": self.grow}
        if self.split is not None:
            told |= {"seeds": self.seeds, "seed_height": self.split.height, "split_limit": self.split.limit}
        if self.split is not None or self.grow:
            told |= {"sampling": list(self.sampling)}
        return told


def default_connectivity(flat: bool) -> int:
    """Connectivity within sections for networks of slices, through the volume for networks of volumes."""
    return 4 if flat else 6
