"""Recipes: everything that determines how weights are trained from data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tiler.errors import PlanError
from tiler.models.training.augmentation import Augmentation
from tiler.models.training.objectives import OBJECTIVES
from tiler.models.training.weight_maps import WeightMap


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise PlanError(message)


def _half_cosine(share: float) -> float:
    """1 at 0, 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; see `tiler.models.training.RECIPES` for those with a name.

    Parameters
    ----------
    name
        Name of the recipe, or of the one that it is derived from.
    optimiser
        ``"adamw"`` or ``"sgd"``.
    learning_rate
        Peak of the learning rate.
    momentum
        Momentum of SGD; the first decay rate of AdamW.
    bias_rate
        Learning rate of the biases, as a multiple of that of the weights.
    weight_decay
        Decoupled (AdamW), or added to the gradient (SGD).
    warm_up
        Number of steps in which the learning rate rises linearly to its peak.
    decay
        Last share of the steps, in which the learning rate falls to zero along half a cosine. 1 is the cosine
        schedule, 0 a constant rate. Before the decay a run does not depend on its total number of steps.
    clip
        Largest norm of the gradient, to which larger gradients are clipped; 0 disables clipping.
    average
        Decay per step of the exponential moving average of the weights; a run validates and writes this average.
        0 means the last weights themselves.
    frozen_norm
        Last share of the steps, in which batch norm uses its running statistics, as in inference.
    batch, tile
        Tiles a step, and their side in pixels.
    planes
        Size in z of the tiles of a 3-D network; 0 lets the network determine it.
    batch_norm, dropout
        Arguments of the network, if its entry leaves them open; see `tiler.models.UNet`.
    precision
        Precision of the convolutions: ``"bfloat16"`` (automatic mixed precision) or ``"float32"``. ``"auto"`` is
        bfloat16 if the device supports it, decided when a run begins.
    loss
        Name of one of `tiler.models.training.OBJECTIVES`, or your own as ``"file.py:function"``; ``"auto"`` is
        that of the network.
    weights
        Weight of each pixel in the loss, if the loss uses weights.
    augmentation
        Variation of each tile.
    augment
        Your own augmentation as ``"file.py:function"``, applied after the others; empty for none.
    """

    name: str
    optimiser: Literal["adamw", "sgd"]
    learning_rate: float
    momentum: float = 0.9
    bias_rate: float = 1.0
    weight_decay: float = 0.0
    warm_up: int = 0
    decay: float = 0.0
    clip: float = 0.0
    average: float = 0.0
    frozen_norm: float = 0.0
    batch: int = 1
    tile: int = 572
    planes: int = 0
    batch_norm: bool = False
    dropout: float = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    loss: str = "auto"
    weights: WeightMap = field(default_factory=WeightMap)
    augmentation: Augmentation = field(default_factory=Augmentation)
    augment: str = ""

    def __post_init__(self) -> None:
        _require(self.optimiser in ("adamw", "sgd"), f"an optimiser is adamw or sgd, got {self.optimiser!r}")
        _require(self.precision in ("auto", "float32", "bfloat16"),
                 f"a precision for training is auto, float32 or bfloat16, got {self.precision!r} (`precision`)")
        _require(self.batch >= 1, f"a step needs at least one tile, got {self.batch} (`batch`)")
        _require(self.learning_rate > 0,
                 f"a learning rate is positive, got {self.learning_rate} (`changes`)")
        _require(self.loss in ("auto", *OBJECTIVES) or ":" in self.loss,
                 f"there is no loss {self.loss!r}: known are auto, {', '.join(OBJECTIVES)}; your own is "
                 "file.py:function (`loss`)")
        _require(not self.augment or ":" in self.augment,
                 f"an augmentation of your own is file.py:function, got {self.augment!r} (`augment`)")
        for name in ("momentum", "decay", "average", "frozen_norm", "dropout"):
            _require(0 <= getattr(self, name) <= 1, f"{name} is from 0 to 1, got {getattr(self, name)}")
        _require(min(self.weight_decay, self.warm_up, self.clip, self.bias_rate, self.planes) >= 0,
                 f"weight decay, warm-up, clip, bias rate and planes are not negative, got {self}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        parts = {"weights": WeightMap(**values["weights"]), "augmentation": Augmentation(**values["augmentation"])}
        # Recipes that were written before there was a choice of losses had this one.
        return cls(**{"loss": "cross-entropy", **values, **parts})

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
