"""Weight of each pixel in the loss: class balance, and the narrow gaps between cells.

References
----------
O. Ronneberger, P. Fischer, T. Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation. MICCAI 2015.
doi:10.1007/978-3-319-24574-4_28

T. Falk et al.: U-Net: deep learning for cell counting, detection, and morphometry. Nature Methods 16, 67-70 (2019).
doi:10.1038/s41592-018-0261-2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tiler.errors import PlanError
from tiler.ports import Array

Floats = npt.NDArray[np.float32]
FOUR = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True, slots=True)
class WeightMap:
    """The weights of pixels in the loss.

    Parameters
    ----------
    balance
        ``"none"``: both classes weigh 1. ``"inverse"``: class c weighs ``N / (2 N_c)``, the inverse of its
        frequency among the N annotated pixels of all slices together, so that both classes weigh the same in
        total and a pixel weighs 1 on average. The paper balances class frequencies without a formula.
    border
        ``"none"``; ``"paper"``: adds `separation` to the class weight; ``"2019"``: `distance_weights` instead of
        any class weight.
    w0, sigma
        Height and width of ``"paper"``, the width in pixels.
    """

    balance: Literal["none", "inverse"] = "none"
    border: Literal["none", "paper", "2019"] = "none"
    w0: float = 10.0
    sigma: float = 5.0

    def __post_init__(self) -> None:
        if self.balance not in ("none", "inverse"):
            raise PlanError(f"a class balance is none or inverse, got {self.balance!r}", option="balance")
        if self.border not in ("none", "paper", "2019"):
            raise PlanError(f"a weight map is none, paper or 2019, got {self.border!r}", option="weight_map")
        if self.sigma <= 0 or self.w0 < 0:
            raise PlanError(f"a weight map needs w0 >= 0 and sigma > 0, got {self.w0} and {self.sigma}")

    def of(self, instances: Array, classes: Array, class_weights: tuple[float, ...]) -> Floats:
        """``(y, x)`` float32: weights of one slice.

        Parameters
        ----------
        instances
            ``(y, x)`` integers, separated: see `separate_touching`.
        classes
            ``(y, x)`` integers: the class of each pixel.
        class_weights
            See `class_weights`.
        """
        if self.border == "2019":
            return distance_weights(instances)
        weights = np.asarray(class_weights, np.float32)[classes]
        if self.border == "paper":
            weights += separation(instances, self.w0, self.sigma)
        return weights


def class_weights(balance: str, counts: Array) -> tuple[float, ...]:
    """One weight per class, from the classes' numbers of pixels; see `WeightMap`."""
    if balance == "none":
        return (1.0,) * len(counts)
    total = int(np.sum(counts))
    return tuple(float(total / (len(counts) * count)) for count in counts)


def instances_of(binary: Array) -> npt.NDArray[np.int32]:
    """``(y, x)`` int32: 4-connected components of non-zero pixels, so that a diagonal membrane separates them."""
    return ndimage.label(np.asarray(binary) != 0, FOUR)[0].astype(np.int32)


def separate_touching(instances: Array) -> Array:
    """``(y, x)`` integers: the same instances, with background wherever two of them touched.

    A pixel becomes background if the 3x3 pixels around it contain an instance other than its own. The gap is two
    pixels wide, one from each side, and afterwards no pixel of one instance is an 8-neighbour of another instance.
    """
    instances = np.asarray(instances)
    high = ndimage.maximum_filter(instances, size=3, mode="nearest")
    # The lowest neighbouring label except background: 0 would hide a neighbour with a lower number.
    filled = np.where(instances == 0, np.iinfo(instances.dtype).max, instances)
    low = ndimage.minimum_filter(filled, size=3, mode="nearest")
    touching = (instances != 0) & ((high != instances) | (low != instances))
    return np.where(touching, 0, instances)


def two_nearest(instances: Array, reach: float) -> tuple[Floats, Floats]:
    """Two ``(y, x)`` float32 arrays: distance of each pixel to the nearest and to the second nearest instance.

    In pixels, to the centre of the nearest pixel of the instance; 0 inside it, infinite beyond ``reach``.
    """
    first = np.full(np.shape(instances), np.inf, np.float32)
    second = first.copy()
    names, compact = np.unique(instances, return_inverse=True)
    compact = compact.reshape(first.shape) + int(names[0] != 0)
    for label, box in enumerate(ndimage.find_objects(compact), start=1):
        near = tuple(slice(max(0, span.start - int(reach) - 1), span.stop + int(reach) + 1) for span in box)
        distance = ndimage.distance_transform_edt(compact[near] != label).astype(np.float32)
        distance[distance > reach] = np.inf
        np.minimum(second[near], np.maximum(first[near], distance), out=second[near])
        np.minimum(first[near], distance, out=first[near])
    return first, second


def separation(instances: Array, w0: float = 10.0, sigma: float = 5.0) -> Floats:
    """``(y, x)`` float32: ``w0 exp(-(d1 + d2)^2 / (2 sigma^2))``, large where two instances are close.

    Inside an instance ``d1`` is 0, so that its rim next to a close neighbour also gets a high weight, as in the
    paper's formula. With fewer than two instances the map is 0. Values below ``w0 e^-16`` are set to 0.
    """
    first, second = two_nearest(instances, reach=sigma * 32**0.5)
    return (w0 * np.exp(-((first + second) ** 2) / np.float32(2 * sigma**2))).astype(np.float32)


def distance_weights(instances: Array) -> Floats:
    """``(y, x)`` float32: the authors' weights of 2019; 1 in instances, more between them, 0.1 far away.

    Background weighs ``0.1 + 0.9 exp(-d1^2 / (2 10^2)) + 50 exp(-(d1 + d2)^2 / (2 6^2))``.
    """
    first, second = two_nearest(instances, reach=57.0)
    ground = 0.1 + 0.9 * np.exp(-(first**2) / 200) + 50 * np.exp(-((first + second) ** 2) / 72)
    return np.where(np.asarray(instances) == 0, ground, 1).astype(np.float32)
