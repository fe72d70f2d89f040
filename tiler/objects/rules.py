"""How objects are made of what a network gives: the options of instances as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tiler.errors import PlanError
from tiler.objects.connectivity import Connectivity
from tiler.objects.growing import Growth
from tiler.objects.splitting import Watershed
from tiler.ports import Json

Seeds = Literal["distance", "probability"]


@dataclass(frozen=True, slots=True)
class Rules:
    """How objects are made, in the order in which it is done.

    Parameters
    ----------
    connectivity
        Which voxels touch.
    threshold
        Objects are where the probability of one class is above it; None where the network gives labels.
    fill_holes
        Whether background that has no way to the border becomes foreground.
    split
        How objects that touch come apart; None where they stay together.
    seeds
        What is flooded: the distance to the outside, or the probability.
    link
        Least intersection over union of objects of two sections that become one; None where they are not linked.
    min_size
        Objects of fewer voxels are dropped.
    grow
        How far objects grow into the background, in voxels along x.
    sampling
        ``(z, y, x)`` sides of a voxel, relative to x.

    Raises
    ------
    PlanError
        If objects of volumes are to be linked.
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
        """Whether an object may have voxels in several sections."""
        return not self.connectivity.flat or self.link is not None

    @property
    def growth(self) -> Growth:
        return Growth(self.grow, self.connectivity.flat, self.sampling)

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
    """By sections for networks of slices, through the volume for networks of volumes."""
    return 4 if flat else 6
