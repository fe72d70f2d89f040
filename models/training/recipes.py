"""Recipes: everything that decides how weights come out of a data set, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from tiler.errors import PlanError
from tiler.models.training.augmentation import Augmentation
from tiler.models.training.weight_maps import WeightMap


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise PlanError(message)


def _half_cosine(share: float) -> float:
    """1 at 0, 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; see `RECIPES` for those with a name.

    Parameters
    ----------
    name
        Of the recipe that this one is, or began as.
    optimiser
        ``"adamw"`` or ``"sgd"``.
    learning_rate
        Its peak.
    momentum
        Of SGD; the first decay rate of AdamW.
    weight_decay
        Decoupled (AdamW), or added to the gradient (SGD).
    warm_up
        Steps in which the learning rate rises linearly to its peak.
    decay
        Last share of the steps, in which the learning rate falls to zero along half a cosine. 1 is the cosine
        schedule, 0 a constant rate. Up to the decay a run does not depend on how many steps it is to have.
    clip
        Largest norm of the gradient; longer ones are shortened. 0 never shortens.
    average
        Decay per step of the exponential moving average of the weights, which is what is validated and written;
        0 takes the last weights themselves.
    frozen_norm
        Last share of the steps, in which batch norm uses its running statistics, as it does in inference.
    batch, tile
        Tiles a step, and their size in pixels.
    batch_norm, dropout
        Of the network; see `tiler.models.UNet`.
    precision
        Of the convolutions: ``"bfloat16"`` (automatic mixed precision) or ``"float32"``; ``"auto"`` is bfloat16
        where the device computes in it, which is settled when a run begins.
    weights
        Weight of each pixel in the loss.
    augmentation
        How each tile is varied.
    """

    name: str
    optimiser: Literal["adamw", "sgd"]
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    warm_up: int = 0
    decay: float = 0.0
    clip: float = 0.0
    average: float = 0.0
    frozen_norm: float = 0.0
    batch: int = 1
    tile: int = 572
    batch_norm: bool = False
    dropout: float = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    weights: WeightMap = field(default_factory=WeightMap)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        _require(self.optimiser in ("adamw", "sgd"), f"an optimiser is adamw or sgd, got {self.optimiser!r}")
        _require(self.precision in ("auto", "float32", "bfloat16"),
                 f"a precision for training is auto, float32 or bfloat16, got {self.precision!r} (--precision)")
        _require(self.batch >= 1, f"a step needs at least one tile, got {self.batch} (--batch)")
        _require(self.learning_rate > 0, f"a learning rate is positive, got {self.learning_rate} (--learning-rate)")
        for name in ("momentum", "decay", "average", "frozen_norm", "dropout"):
            _require(0 <= getattr(self, name) <= 1, f"{name} lies from 0 to 1, got {getattr(self, name)}")
        _require(min(self.weight_decay, self.warm_up, self.clip) >= 0,
                 f"weight decay, warm-up and clip are not negative, got {self}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        parts = {"weights": WeightMap(**values["weights"]), "augmentation": Augmentation(**values["augmentation"])}
        return cls(**{**values, **parts})

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step, the first of which is 0.

        ::

            peak       ____________
                      /            \\
                     /              \\__
            0       /                  \\__
                    |warm-up|      |  decay |
        """
        begin = steps - round(self.decay * steps)
        rise = min(1.0, (step + 1) / (self.warm_up + 1))
        if step < begin:
            return self.learning_rate * rise
        return self.learning_rate * rise * _half_cosine((step - begin + 1) / (steps - begin + 1))

    def freezes_norm(self, step: int, steps: int) -> bool:
        """Whether batch norm uses its running statistics in this step."""
        return step >= steps - round(self.frozen_norm * steps)


RECIPES = {
    "default": Recipe(
        name="default", optimiser="adamw", learning_rate=1e-3, weight_decay=1e-4, warm_up=100, decay=0.4, clip=1.0,
        average=0.999, batch=2, tile=444, batch_norm=True, precision="auto",
    ),
    "paper": Recipe(
        name="paper", optimiser="sgd", learning_rate=3e-4, momentum=0.99, batch=1, tile=572, dropout=0.5,
        weights=WeightMap(balance="inverse", border="paper"),
        augmentation=Augmentation(undeformed=0.0, noise=0.0),
    ),
}
"""``default``: AdamW with warm-up, a cosine, batch norm and mixed precision.

``paper``: stochastic gradient descent with momentum 0.99, one large tile a step, dropout at the end of the
contracting path, class balance and the weight map of touching cells. Ronneberger et al. do not state the learning
rate. Of 3e-4, 1e-3 and 1e-2 the first ended with the lowest loss on the bundled sample (700 steps of one 252 px tile,
base 16); the last diverged within 60 steps.
"""


def recipe(name: str | Recipe = "default", **changes: Any) -> Recipe:
    """The recipe of that name, with some of its fields changed; None leaves a field as it is.

    Fields of its parts are named with a dot: ``recipe("paper", **{"augmentation.elastic": 5})``.

    Raises
    ------
    PlanError
        If there is no such recipe or field, or a value is impossible.
    """
    if not isinstance(name, Recipe) and name not in RECIPES:
        raise PlanError(f"there is no recipe {name!r}: known are {', '.join(RECIPES)} (--recipe)")
    made = name if isinstance(name, Recipe) else RECIPES[name]
    for path, value in changes.items():
        if value is not None:
            made = _with(made, path, value)
    return made


def _with(whole: Any, path: str, value: Any) -> Any:
    """A dataclass with one field changed, which may be a field of a part."""
    name, _, rest = path.partition(".")
    known = [entry.name for entry in fields(whole)]
    if name not in known:
        raise PlanError(f"a recipe has no field {path}: there are {', '.join(known)} (--set)")
    old = getattr(whole, name)
    if rest and is_dataclass(old):
        return replace(whole, **{name: _with(old, rest, value)})
    if rest or not _of_one_kind(old, value):
        raise PlanError(f"{path} of a recipe cannot be {value!r}, it is {old!r} by default (--set)")
    return replace(whole, **{name: value})


def _of_one_kind(old: Any, new: Any) -> bool:
    """Whether a value may stand in place of another one; whole numbers are real ones too."""
    if isinstance(old, float):
        return isinstance(new, int | float) and not isinstance(new, bool)
    return type(old) is type(new)
