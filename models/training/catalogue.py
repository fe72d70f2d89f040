"""Recipes by name: a modern default, and the one published with each network."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from tiler.errors import PlanError
from tiler.models.training.augmentation import Augmentation
from tiler.models.training.recipes import Recipe
from tiler.models.training.weight_maps import WeightMap

_TURNS_ONLY = Augmentation(elastic=0.0, rotate=False, undeformed=1.0, contrast=0.0, brightness=0.0, gamma=0.0,
                           noise=0.0)
"""Flips and quarter turns."""
_PIXELS = 512**2
"""Pixels of an output: the FCN's authors sum the loss over them, tiler takes the mean."""

RECIPES = {
    "default": Recipe(
        name="default", optimiser="adamw", learning_rate=1e-3, weight_decay=1e-4, warm_up=100, decay=0.4, clip=1.0,
        average=0.999, batch=2, tile=444, batch_norm=True, precision="auto",
    ),
    "paper": Recipe(
        name="paper", optimiser="sgd", learning_rate=3e-4, momentum=0.99, batch=1, tile=572, dropout=0.5,
        loss="cross-entropy", weights=WeightMap(balance="inverse", border="paper"),
        augmentation=Augmentation(undeformed=0.0, noise=0.0),
    ),
    "unetpp": Recipe(name="unetpp", optimiser="adamw", learning_rate=3e-4, batch=2, tile=448, loss="bce-dice"),
    "unet3plus": Recipe(name="unet3plus", optimiser="sgd", learning_rate=1e-2, batch=2, tile=320, loss="full-scale"),
    "fcn": Recipe(
        name="fcn", optimiser="sgd", learning_rate=1e-10 * _PIXELS, momentum=0.99, bias_rate=2.0,
        weight_decay=5e-4 / _PIXELS, batch=1, tile=512, loss="cross-entropy", augmentation=_TURNS_ONLY,
    ),
    "fcn-alexnet": Recipe(
        name="fcn-alexnet", optimiser="sgd", learning_rate=1e-4, bias_rate=2.0, weight_decay=5e-4, batch=20, tile=512,
        loss="cross-entropy", augmentation=_TURNS_ONLY,
    ),
    "fcn-googlenet": Recipe(
        name="fcn-googlenet", optimiser="sgd", learning_rate=5e-5, bias_rate=2.0, weight_decay=5e-4, batch=20,
        tile=512, loss="cross-entropy", augmentation=_TURNS_ONLY,
    ),
    "sliding-window": Recipe(
        name="sliding-window", optimiser="sgd", learning_rate=1e-2, batch=1, tile=256, loss="cross-entropy",
        weights=WeightMap(balance="inverse"), augmentation=_TURNS_ONLY,
    ),
    "esfpnet": Recipe(
        name="esfpnet", optimiser="adamw", learning_rate=1e-4, weight_decay=1e-2, batch=8, tile=352, loss="structure",
        augmentation=Augmentation(elastic=0.0, undeformed=0.0, contrast=0.1, brightness=0.2, gamma=0.0, noise=0.0),
    ),
    "gain": Recipe(
        name="gain", optimiser="adamw", learning_rate=1e-3, batch=4, tile=224, loss="guided-attention",
        augmentation=_TURNS_ONLY,
    ),
}
"""``default``: AdamW with warm-up, a cosine, batch norm and mixed precision, and the loss of the network.

``paper``: the U-Net's own. Stochastic gradient descent with momentum 0.99, one large tile a step, dropout at the end of
the contracting path, class balance and the weight map of touching cells. Ronneberger et al. do not state the learning
rate. Of 3e-4, 1e-3 and 1e-2 the first ended with the lowest loss on the bundled sample (700 steps of one 252 px tile,
base 16); the last diverged within 60 steps.

``unetpp``: Adam at 3e-4 (AdamW without decay is Adam) and half the cross-entropy plus 1 - Dice of every head, the best
weights by validation. Batch and tile are chosen; the authors' code also has dropout (``changes={"dropout": 0.5}``).

``unet3plus``: stochastic gradient descent on tiles of 320, focal + MS-SSIM + IoU of every side output. Rate, momentum
and batch are chosen; it sees the channels that the images have, not three adjacent slices as in the paper.

``fcn``: the authors' "heavy" learning, one image a step with momentum 0.99, after a classifier (``init``). Their
loss is a sum over the pixels of an image, tiler's a mean, and rate and decay are those of the sum. FCN-16s and 8s begin
with the weights of the coarser network (``init``), at a hundredth of its rate. ``fcn-alexnet`` and
``fcn-googlenet``: their bodies' own rates, 20 images a step. Biases learn twice as fast. Tiles are not deformed.

``sliding-window``: as many pixels of membrane as of the rest, and flips. All pixels of a dense tile count, balanced by
their weights instead of by lot: the gradient that is expected of patches, for 1/555 of the work. Rate and batch are
chosen: of 1e-3, 1e-2 and 1e-1 the second ended with the lowest loss on the bundled sample (80 steps, base 8).

``esfpnet``: AdamW at 1e-4 without a schedule, 8 frames of 352 a step, edge-weighted structure loss; the published
weights began with an ImageNet encoder.

``gain``: Adam at 1e-3, 4 tiles of 224 a step, 0.9 of the cross-entropy of what a tile shows and 0.1 of the squared
error of its attention, where the mask says whether and where the lesion is. Published are 80 epochs of whole frames of
that size, beginning with ImageNet weights; tiles at random places of larger frames and their flips are chosen here.

Sources: the classes of `tiler.models.zoo`, and `tiler.models.zoo.registry`.
"""

_OWN = {
    "unet-wide": "unetpp", "unetpp": "unetpp", "unetpp-ds": "unetpp", "unetpp-bilinear": "unetpp",
    "unetpp-corners": "unetpp",
    "unet3plus": "unet3plus", "unet3plus-ds": "unet3plus", "unet3plus-cgm": "unet3plus",
    "fcn32s": "fcn", "fcn32s-fixed": "fcn", "fcn16s": "fcn", "fcn8s": "fcn", "fcn8s-at-once": "fcn",
    "fcn-alexnet": "fcn-alexnet", "fcn-googlenet": "fcn-googlenet",
    "ciresan-n4": "sliding-window", "ciresan-n65": "sliding-window", "cnn-full-resolution": "sliding-window",
    "gain-resnet50": "gain",
    "esfpnet-t": "esfpnet", "esfpnet-s": "esfpnet", "esfpnet-l": "esfpnet",
}


def own_recipe(model: str) -> Recipe:
    """The default recipe of a registered network.

    It is the published one. Networks without a published recipe get ``default``, and so does the U-Net, whose
    published recipe is ``paper``.
    """
    return RECIPES[_OWN.get(model, "default")]


def own_loss(model: str) -> str:
    """The loss of a registered network."""
    loss = own_recipe(model).loss
    return "cross-entropy" if loss == "auto" else loss


def recipe(name: str | Recipe = "default", **changes: Any) -> Recipe:
    """The recipe of that name, with some of its fields changed; None leaves a field as it is.

    Fields of its parts are named with a dot: ``recipe("paper", **{"augmentation.elastic": 5})``.

    Raises
    ------
    PlanError
        If the recipe or field does not exist, or a value is impossible.
    """
    if not isinstance(name, Recipe) and name not in RECIPES:
        raise PlanError(f"there is no recipe {name!r}: known are {', '.join(RECIPES)}", option="recipe")
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
        raise PlanError(f"a recipe has no field {path}: there are {', '.join(known)}", option="changes")
    old = getattr(whole, name)
    if rest and is_dataclass(old):
        return replace(whole, **{name: _with(old, rest, value)})
    if rest or not _of_one_kind(old, value):
        raise PlanError(f"{path} of a recipe cannot be {value!r}, it is {old!r} by default", option="changes")
    return replace(whole, **{name: value})


def _of_one_kind(old: Any, new: Any) -> bool:
    """Whether a value may replace another one; integers may replace floats."""
    if isinstance(old, float):
        return isinstance(new, int | float) and not isinstance(new, bool)
    return type(old) is type(new)
