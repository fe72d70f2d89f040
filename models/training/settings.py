"""The complete settings of a run. Checkpoints store them, and a resumed run must share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from tiler.errors import PlanChangedError, PlanError
from tiler.models.loading.weights import Normalisation
from tiler.models.training.recipes import Recipe


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that determines the values of the weights.

    Parameters
    ----------
    model, arguments
        Registered name of the network, and the arguments of its factory; or the user's own factory, with the
        absolute path of its file.
    classes
        Names of background and object, or of every output channel.
    recipe
        Recipe with a definite precision, loss and tile.
    steps
        Number of steps of the whole run.
    validate, validate_every
        Slices held out, or None; steps between two validations.
    seed, threads, device
        See `tiler.models.training.options.TrainingOptions`.
    normalisation
        Normalisation of grey values.
    data
        SHA-256 of all images and labels.
    init
        SHA-256 of the initial weights, or None for random ones.
    versions
        Versions of tiler and torch.
    ndim, out_channels
        Number of spatial axes of the network's input, and of channels of its output.
    code
        SHA-256 of each of the user's files that affect the weights (model, loss, augmentation).
    freeze
        Prefixes of the parameters that training does not change.
    """

    model: str
    arguments: Mapping[str, Any]
    classes: tuple[str, ...]
    recipe: Recipe
    steps: int
    validate: tuple[int, int] | None
    validate_every: int
    seed: int
    threads: int
    device: str
    normalisation: Normalisation
    data: str
    init: str | None
    versions: Mapping[str, str]
    ndim: int = 2
    out_channels: int = 0
    code: Mapping[str, str | None] = field(default_factory=dict)
    freeze: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        validate, scaling = values["validate"], values["normalisation"]
        return cls(**{
            # Older runs, from versions that trained only registered networks, state neither.
            "out_channels": values["arguments"].get("classes"), **values, "freeze": tuple(values.get("freeze", ())),
            "recipe": Recipe.from_json(values["recipe"]), "classes": tuple(values["classes"]),
            "validate": validate and tuple(validate),
            "normalisation": Normalisation(scaling["scale"], tuple(scaling["mean"]), tuple(scaling["std"])),
        })

    def going_on_as(self, given: Settings, done: int) -> Settings:
        """The settings of a run that is resumed after ``done`` steps.

        The number of steps may change until the learning rate begins to fall.

        Raises
        ------
        PlanChangedError
            If anything else differs.
        PlanError
            If the number of steps can no longer be changed.
        """
        ours, theirs = self.to_json(), given.to_json()
        free = ("steps", "validate_every", "versions")
        changed = {name: (ours[name], theirs[name]) for name in (entry.name for entry in fields(self))
                   if name not in free and ours[name] != theirs[name]}
        if changed:
            raise PlanChangedError(changed)
        if given.steps != self.steps:
            self._require_steady(given.steps, done)
        return replace(self, steps=given.steps, validate_every=given.validate_every)

    def _require_steady(self, steps: int, done: int) -> None:
        last = self.steps - round(self.recipe.decay * self.steps)
        earliest = steps - round(self.recipe.decay * steps)
        if done > last:
            raise PlanError(f"the learning rate falls since step {last}: a run of {self.steps} steps can no longer "
                            f"be made one of {steps}", option="steps")
        if done > earliest:
            raise PlanError(f"{done} steps are done: a run of {steps} steps would have lowered its learning rate "
                            f"since step {earliest}; give more steps", option="steps")
