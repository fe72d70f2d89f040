"""Annotated stacks: reading the user's files and checking them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiler.errors import PlanError
from tiler.geometry import Box
from tiler.models.loading.weights import Normalisation
from tiler.models.training.label_check import refuse_grey_values, warnings_of_ids
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
        ``(y, x)`` int32: the objects. If they are annotated individually, none touches another.
    place
        Number of the stack, and z in it: slices with successive z of one stack are neighbours.
    """

    image: Array
    classes: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.int32]
    place: tuple[int, int] = (0, 0)

    def follows(self, before: Slice) -> bool:
        """Whether it lies directly above another slice in the same stack."""
        return self.place == (before.place[0], before.place[1] + 1)


def runs_of(slices: Sequence[Slice]) -> list[range]:
    """The positions of slices that follow each other without a gap, one range for each unbroken run."""
    starts = [at for at, item in enumerate(slices) if at == 0 or not item.follows(slices[at - 1])]
    return [range(start, stop) for start, stop in zip(starts, [*starts[1:], len(slices)], strict=True)]


def read_pair(images: Any, labels: Any, stack: int = 0, warn: Callable[[str], None] = lambda _: None) -> list[Slice]:
    """Read the slices of one stack and its labels.

    Parameters
    ----------
    images
        Path or array, as for `tiler.open_volume`.
    labels
        Path or array with one channel, in which 0 is background. One other value makes a binary label, whose
        components are the objects. Several other values are ids of objects; background separates touching ones.
    stack
        Number of the stack, for `Slice.place`.
    warn
        Called with a message if the labels look odd.

    Raises
    ------
    SourceError
        If a file cannot be read.
    PlanError
        If the labels do not fit the images, are not integers, hold one class only, or look like grey values.
    """
    source, truth = open_source(images), open_source(labels)
    name = f"labels {truth.name}"
    if truth.shape != (1, *source.shape[1:]):
        raise PlanError(f"{name} are {_sized(truth.shape)}, images {source.name} are {_sized(source.shape)}: "
                        "labels need one channel and the images' z, y and x")
    values = _integers(truth.read(Box.of_shape(truth.shape[1:]))[0], name)
    grey = source.read(Box.of_shape(source.shape[1:]))
    _check_finite(grey, f"images {source.name}")
    refuse_grey_values(values, grey, name)
    if not _are_instances(values, name):
        return [Slice(np.ascontiguousarray(grey[:, z]), (values[z] != 0).astype(np.uint8), instances_of(values[z]),
                      (stack, z)) for z in range(len(values))]
    parted = np.stack([separate_touching(layer.astype(np.int32)) for layer in values])
    for warning in warnings_of_ids(values, parted, name):
        warn(warning)
    return [Slice(np.ascontiguousarray(grey[:, z]), (layer != 0).astype(np.uint8), layer, (stack, z))
            for z, layer in enumerate(parted)]


def _are_instances(values: Array, name: str) -> bool:
    """Whether objects are annotated individually. Refuses labels of a single class."""
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
                        f"(0:{len(slices)})", option="validate")
    if last - first == len(slices):
        raise PlanError(f"validation slices {first}:{last} are all that there are: leave some to train on",
                        option="validate")
    return [*slices[:first], *slices[last:]], list(slices[first:last])


def fingerprint(slices: Sequence[Slice]) -> str:
    """SHA-256 of all grey values and labels, in order."""
    digest = hashlib.sha256()
    for item in slices:
        for array in (item.image, item.classes, item.instances):
            digest.update(f"{array.dtype.str} {array.shape};".encode())
            digest.update(np.ascontiguousarray(array).data)
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
