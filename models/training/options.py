"""The options of a training run, as the user gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiler.errors import PlanError
from tiler.models.loading.weights import Normalisation
from tiler.models.training.recipes import Recipe

SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Options of `tiler.models.train`. None means the default, or the setting of the run that is resumed.

    Parameters
    ----------
    model
        Registered name of the network, by default ``"unet"``; or your own as ``"file.py:factory"`` or
        ``"package.module:factory"``: a network of slices ``(n, c, y, x)`` or of volumes ``(n, c, z, y, x)``.
    base, depth
        Channels of its first level (by default 32 for the U-Net, else as published), and number of its poolings.
    arguments
        Other arguments of its factory, by name; see ``tiler models NAME``.
    recipe
        Name of a recipe, or one of your own; by default that of the network.
    changes
        Fields of the recipe to change, by name; those of its parts as ``"augmentation.elastic"``.
    loss, augment
        Name of a loss, and your own as ``"file.py:function"``; see `tiler.models.training.objectives.objective_of`
        and `tiler.models.training.tiles.OwnAugmentation`. Fields of the recipe, too.
    steps, time
        Length of the training, as a number of steps (5000) or as a time, such as ``"2h"``. A short measurement at
        the start of the run converts a time to steps.
    validate
        Slices to hold out, as ``"20:25"`` or ``(20, 25)``, counted through all stacks in the given order.
    validate_every
        Steps between two validations; by default a run has twenty.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    threads
        Number of CPU threads. Results are reproducible only with the same number.
    seed
        Seed of the initial weights, the tiles and dropout.
    classes
        Names of background and object.
    dtype
        Dtype of the values in the file: ``"float32"`` or ``"float16"``.
    init
        Initial weights instead of random ones: a file, or a registered name with bundled weights. Tensors that do
        not fit, such as those of another head, start with random values.
    freeze
        Names of parts of the network that training does not change, such as ``("enc",)``.
    normalise
        Normalisation of grey values: ``"MEAN,STD"``, ``"none"``, or a `tiler.models.Normalisation`. By default
        that of the initial weights, else mean and standard deviation of the images. It is written into the weights.
    licence
        Licence of the weights, free text.
    preview
        PNG file for a picture of augmented tiles before the first step; see `tiler.models.training.preview`.
    sanity
        Whether to overfit one batch first, and to stop if the network cannot.
    checkpoint_seconds
        Time between two checkpoints. It does not change the result.
    """

    model: str | None = None
    base: int | None = None
    depth: int | None = None
    arguments: dict[str, Any] | None = None
    recipe: str | Recipe | None = None
    changes: dict[str, Any] | None = None
    loss: str | None = None
    augment: str | None = None
    steps: int | None = None
    time: str | float | None = None
    validate: Any = None
    validate_every: int | None = None
    device: str = "auto"
    threads: int | None = None
    seed: int | None = None
    classes: tuple[str, ...] | None = None
    dtype: str = "float32"
    init: Any = None
    freeze: Sequence[str] = ()
    normalise: str | Normalisation | None = None
    licence: str = "as the training data allow"
    preview: str | Path | None = None
    sanity: bool = False
    checkpoint_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.steps is not None and self.time is not None:
            raise PlanError("give the length of a run either in steps or as time (`steps`, `time`)")
        for name in ("steps", "base", "depth", "threads", "validate_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PlanError(f"{name} is at least 1, got {value}", option=name)
        if self.dtype not in ("float32", "float16"):
            raise PlanError(f"weights are stored as float32 or float16, got {self.dtype!r}", option="dtype")
        if self.seed is not None and self.seed < 0:
            raise PlanError(f"a seed is not negative, got {self.seed}", option="seed")


def parse_slices(value: Any) -> tuple[int, int] | None:
    """``(20, 25)`` from ``"20:25"``, a slice or a pair; None for None.

    Raises
    ------
    PlanError
        If it cannot be read.
    """
    if value is None:
        return None
    if isinstance(value, slice):
        value = (value.start, value.stop)
    try:
        first, last = (int(part) for part in (value.split(":") if isinstance(value, str) else value))
    except (TypeError, ValueError):
        raise PlanError(f"{value!r} is not a range of slices: give 20:25 for slices 20 to 24",
                        option="validate") from None
    return first, last


def parse_time(value: str | float) -> float:
    """Seconds from ``7200``, ``"2h"``, ``"90min"``, ``"1h30m"``.

    Raises
    ------
    PlanError
        If it cannot be read.
    """
    if isinstance(value, int | float):
        seconds = float(value)
    else:
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)", value)
        whole = "".join(number + unit for number, unit in parts) == re.sub(r"\s", "", value)
        seconds = sum(float(number) * SECONDS[unit] for number, unit in parts) if whole else 0.0
    if not seconds > 0:
        raise PlanError(f"{value!r} is no time: give 2h, 90min or 1h30m", option="time")
    return seconds
