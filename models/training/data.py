"""Annotated stacks: what is read from the user's files, checked, and how tiles are drawn from them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiler.errors import PlanError
from tiler.geometry import Box
from tiler.models.loading.weights import Normalisation
from tiler.models.training.augmentation import Augmentation, take_image, take_labels
from tiler.models.training.weight_maps import (
    WeightMap,
    class_weights,
    instances_of,
    separate_touching,
)
from tiler.ports import Array
from tiler.sources import open_source

CLASSES = 2
LARGEST_ID = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Slice:
    """One annotated section.

    Parameters
    ----------
    image
        ``(c, y, x)`` raw grey values.
    classes
        ``(y, x)`` uint8: 0 background (membrane), 1 object (cell).
    instances
        ``(y, x)`` int32: the objects, none of which touches another one where they were annotated one by one.
    """

    image: Array
    classes: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Tiles:
    """One step's input.

    Parameters
    ----------
    images
        ``(n, c, y, x)`` float32, normalised.
    classes, weights
        ``(n, y', x')`` uint8 and float32, of the network's output.
    """

    images: npt.NDArray[np.float32]
    classes: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.float32]


def read_pair(images: Any, labels: Any) -> list[Slice]:
    """The slices of one stack and its labels.

    Parameters
    ----------
    images
        Path or array, as for `tiler.open_volume`.
    labels
        Likewise, one channel: 0 is background. One other value makes a binary label, whose components are the
        objects; several make instances, which are parted by background where they touch.

    Raises
    ------
    SourceError
        If a file cannot be read.
    PlanError
        If the labels do not fit the images, are no integers, or hold one class only.
    """
    source, truth = open_source(images), open_source(labels)
    name = f"labels {truth.name}"
    if truth.shape != (1, *source.shape[1:]):
        raise PlanError(f"{name} are {_sized(truth.shape)}, images {source.name} are {_sized(source.shape)}: "
                        "labels need one channel and the images' z, y and x")
    values = _integers(truth.read(Box.of_shape(truth.shape[1:]))[0], name)
    grey = source.read(Box.of_shape(source.shape[1:]))
    _check_finite(grey, f"images {source.name}")
    of_slice = _instances_slice if _are_instances(values, name) else _binary_slice
    return [of_slice(np.ascontiguousarray(grey[:, z]), values[z]) for z in range(len(values))]


def _are_instances(values: Array, name: str) -> bool:
    """Whether objects are annotated one by one; labels of one class are refused."""
    distinct = np.unique(values)
    if len(distinct) == 1:
        raise PlanError(f"{name} hold one class only (every pixel is {distinct[0]}): 0 marks background or membrane, "
                        "any other value an object or cell")
    if len(distinct) == 2 and distinct[0] != 0:
        raise PlanError(f"{name} hold {distinct[0]} and {distinct[1]}, and no 0: 0 marks background or membrane, any "
                        "other value an object or cell")
    return len(distinct) > 2


def _sized(shape: Sequence[int]) -> str:
    return f"{' x '.join(map(str, shape[1:]))} in {shape[0]} channel{'s' if shape[0] > 1 else ''}"


def _integers(values: Array, name: str) -> Array:
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind not in "iu":
        raise PlanError(f"{name} are {values.dtype}, not integers: 0 marks background or membrane, any other whole "
                        "number an object or cell")
    if values.min() < 0 or values.max() > LARGEST_ID:
        raise PlanError(f"{name} hold {values.min() if values.min() < 0 else values.max()}: labels lie from 0 to "
                        f"{LARGEST_ID}")
    return values


def _check_finite(grey: Array, name: str) -> None:
    if grey.dtype.kind == "f" and not np.isfinite(grey).all():
        raise PlanError(f"{name} hold NaN or infinite grey values: replace them before training")
    if grey.dtype.kind not in "fiub":
        raise PlanError(f"{name} are {grey.dtype}: training needs real grey values")


def _binary_slice(image: Array, labels: Array) -> Slice:
    return Slice(image, (labels != 0).astype(np.uint8), instances_of(labels))


def _instances_slice(image: Array, labels: Array) -> Slice:
    parted = separate_touching(labels.astype(np.int32))
    return Slice(image, (parted != 0).astype(np.uint8), parted)


def split(slices: Sequence[Slice], validate: tuple[int, int] | None) -> tuple[list[Slice], list[Slice]]:
    """The slices to train on, and those from first to last (not included) to validate on.

    Raises
    ------
    PlanError
        If the range is empty, lies outside the stack or leaves nothing to train on.
    """
    if validate is None:
        return list(slices), []
    first, last = validate
    if not 0 <= first < last <= len(slices):
        raise PlanError(f"validation slices {first}:{last} are no range within the {len(slices)} slices given "
                        f"(0:{len(slices)}) (--validate)")
    if last - first == len(slices):
        raise PlanError(f"validation slices {first}:{last} are all that there are: leave some to train on "
                        "(--validate)")
    return [*slices[:first], *slices[last:]], list(slices[first:last])


def fingerprint(slices: Sequence[Slice]) -> str:
    """SHA-256 of all grey values and labels, in order."""
    digest = hashlib.sha256()
    for item in slices:
        for array in (item.image, item.classes, item.instances):
            digest.update(f"{array.dtype.str} {array.shape};".encode())
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def normalisation_of(slices: Sequence[Slice]) -> Normalisation:
    """Mean and standard deviation of every channel over all slices; unsigned integers are scaled to 0..1 first."""
    dtype = slices[0].image.dtype
    scale = float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0
    count = sum(item.classes.size for item in slices)
    mean = sum(item.image.sum((1, 2), np.float64) for item in slices) / count
    square = sum(((item.image - mean[:, None, None]) ** 2).sum((1, 2)) for item in slices) / count
    std = np.sqrt(square)
    if not (std > 0).all():
        raise PlanError("the images to train on have a channel of one grey value only: nothing can be learnt from it")
    return Normalisation(scale, tuple((mean / scale).tolist()), tuple((std / scale).tolist()))


def weights_of(slices: Sequence[Slice], rule: WeightMap) -> list[npt.NDArray[np.float32]]:
    """``(y, x)`` float32 for each slice: weights of its pixels; classes are balanced over all slices together."""
    counts = np.sum([np.bincount(item.classes.ravel(), minlength=CLASSES) for item in slices], axis=0)
    balance = class_weights(rule.balance, counts)
    return [rule.of(item.instances, item.classes, balance) for item in slices]


@dataclass(frozen=True)
class TileSampler:
    """Draws the tiles of any step: the same ones whenever it is asked for the same step.

    Parameters
    ----------
    slices
        To draw from.
    weights
        ``(y, x)`` of each slice; see `weights_of`.
    scaling
        Of grey values.
    augmentation
        How tiles are varied.
    batch, tile
        Tiles a step, their size.
    output, offset
        Size of the network's output, and where it lies in the tile.
    seed
        Of all that is drawn.
    """

    slices: Sequence[Slice]
    weights: Sequence[npt.NDArray[np.float32]]
    scaling: Normalisation
    augmentation: Augmentation
    batch: int
    tile: int
    output: int
    offset: int
    seed: int

    def __call__(self, step: int) -> Tiles:
        drawn = [self._tile(step * self.batch + place) for place in range(self.batch)]
        return Tiles(*(np.stack(part) for part in zip(*drawn, strict=True)))

    def _tile(self, number: int) -> tuple[Array, Array, Array]:
        # A generator of its own for every tile: no state has to be kept for a run that goes on.
        random = np.random.default_rng((self.seed, number))
        which = self._slice(number)
        item = self.slices[which]
        places = self.augmentation.places(item.classes.shape, self.tile, random)
        image = take_image(item.image, places) / np.float32(self.scaling.scale)
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.scaling.mean, self.scaling.std))
        image = self.augmentation.grey((image - mean) / std, random)
        inside = slice(self.offset, self.offset + self.output)
        places = places[:, inside, inside]
        return image, take_labels(item.classes, places), take_labels(self.weights[which], places)

    def _slice(self, number: int) -> int:
        """Every slice once in each round, in random order."""
        lap, place = divmod(number, len(self.slices))
        order = np.random.default_rng((self.seed, lap, 1)).permutation(len(self.slices))
        return int(order[place])
