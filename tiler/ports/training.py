"""The data that a network was trained on, as far as they decide whether other data are of their kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Contrast = Literal["dark", "bright"]
NANOMETER = "nanometer"


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """The kind of data that a network was trained on. Weights state it; None stands for what they leave open.

    Parameters
    ----------
    voxel_size
        ``(z, y, x)`` in nanometres; z is None for a network of slices whose spacing does not matter.
    contrast
        Whether the thin structures between objects, such as membranes, are ``"dark"`` or ``"bright"``.
    best_threshold
        Probability above which objects scored best on slices that were held out for choosing it.
    """

    voxel_size: tuple[float | None, float, float] | None = None
    contrast: Contrast | None = None
    best_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.voxel_size is not None and not all(size is None or size > 0 for size in self.voxel_size):
            raise ValueError(f"a voxel has a positive size, got {self.voxel_size}")
        if self.contrast not in (None, *get_args(Contrast)):
            raise ValueError(f"a contrast is {' or '.join(get_args(Contrast))}, got {self.contrast!r}")
        if self.best_threshold is not None and not 0 < self.best_threshold < 1:
            raise ValueError(f"a threshold of probabilities lies between 0 and 1, got {self.best_threshold}")

    def to_json(self) -> dict[str, Any]:
        """The stated values, for the metadata of weights."""
        size = self.voxel_size and {"unit": NANOMETER, **dict(zip("zyx", self.voxel_size, strict=True))}
        stated = {"voxel_size": size, "contrast": self.contrast, "best_threshold": self.best_threshold}
        return {name: value for name, value in stated.items() if value is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TrainedOn:
        """Read it from the metadata of weights; other entries are ignored.

        Raises
        ------
        KeyError, TypeError, ValueError
            If an entry is damaged.
        """
        size = stored.get("voxel_size")
        if size is not None and size["unit"] != NANOMETER:
            raise ValueError(f"the voxel size is in {size['unit']}, not in {NANOMETER}")
        voxel = None if size is None else (None if size["z"] is None else float(size["z"]),
                                           float(size["y"]), float(size["x"]))
        return cls(voxel, stored.get("contrast"), stored.get("best_threshold"))


UNSTATED = TrainedOn()
"""Nothing is known of the data that a network was trained on."""
