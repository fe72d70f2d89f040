"""Checks that every metric makes of its arrays; each refusal is one line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from tiler.errors import PlanError
from tiler.ports import Array

ROUNDING = 1e-6  # a soft-max in float32 may leave 0..1 by this much


def same_shape(proposal: Array, labels: Array, mask: Array | None = None) -> None:
    """Refuse arrays of different shapes and empty ones.

    Raises
    ------
    PlanError
        Both shapes are named.
    """
    if proposal.shape != labels.shape:
        raise PlanError(f"the proposal has shape {proposal.shape}, the labels {labels.shape}: they must be equal "
                        "(choose a part with `slices` or `roi`)")
    if mask is not None and mask.shape != labels.shape:
        raise PlanError(f"the mask has shape {mask.shape}, the labels {labels.shape}: they must be equal (`mask`)")
    if labels.size == 0:
        raise PlanError(f"there is nothing to score: the labels have shape {labels.shape}")


def slice_2d(proposal: Array, labels: Array, mask: Array | None = None) -> None:
    """Refuse arrays that are not single grey slices (y, x), for metrics that are defined slice by slice.

    Raises
    ------
    PlanError
        The shape is named.
    """
    for name, image in (("proposal", proposal), ("labels", labels), ("mask", mask)):
        if image is not None and image.ndim != 2:
            hint = " (a colour image?)" if image.ndim == 3 and image.shape[-1] in (3, 4) else ""
            raise PlanError(f"a slice has the axes (y, x), the {name} has shape {image.shape}{hint}")
    same_shape(proposal, labels, mask)


def probabilities(proposal: Array) -> None:
    """Refuse a proposal that cannot be compared with thresholds from 0 to 1.

    Integers pass unchanged, since the challenge's evaluator does not rescale; see `integer_hint`.

    Raises
    ------
    PlanError
        The proposal holds NaN, or real numbers outside 0..1.
    """
    if proposal.dtype.kind not in "fiub":
        raise PlanError(f"a proposal is a map of real numbers, this one is {proposal.dtype}")
    low, high = float(proposal.min()), float(proposal.max())
    if np.isnan(low) or np.isnan(high):
        raise PlanError(f"the proposal holds NaN in {int(np.isnan(proposal).sum())} of {proposal.size} pixels: "
                        "a probability is wanted everywhere")
    if low < -ROUNDING or (high > 1 + ROUNDING and proposal.dtype.kind == "f"):
        raise PlanError(f"the proposal holds values from {low:g} to {high:g}: probabilities from 0 to 1 are "
                        "wanted (integers can be divided by their largest value with `rescale`)")


def integer_hint(dtype: np.dtype[Any], high: float) -> str | None:
    """Return a hint about integers that are compared with thresholds unscaled; None if they are 0 and 1.

    Parameters
    ----------
    dtype
        Type of the proposal.
    high
        Largest value of the proposal.
    """
    if dtype.kind not in "iu" or high <= 1:
        return None
    return (f"the proposal is {dtype} with values up to {high:g} and is compared with the thresholds 0..1 as it "
            f"is: every value above 0 counts as white (`rescale` divides by {np.iinfo(dtype).max})")


def cells_and_membrane(labels: Array, mask: Array | None = None) -> None:
    """Refuse labels that cannot be cut into cell (above 0) and membrane (0), and masks with NaN.

    Parameters
    ----------
    labels, mask
        Any shape, any real dtype.

    Raises
    ------
    PlanError
        The labels hold NaN or negative values, or the mask holds NaN.
    """
    for name, option, values in (("labels", "", labels), ("mask", " (`mask`)", mask)):
        missing = int(np.isnan(values).sum()) if values is not None and values.dtype.kind == "f" else 0
        if missing:
            raise PlanError(f"the {name} hold{'s' * (name == 'mask')} NaN in {missing} of {labels.size} pixels{option}")
    if labels.size and labels.min() < 0:
        raise PlanError(f"the labels hold {labels.min():g}: cell is above 0 and membrane is 0 (int8 reads 255 as -1; "
                        "pixels that should not be scored need another protocol and `ignore_label`)")


def is_void(labels: Array, void: Iterable[int]) -> npt.NDArray[np.bool_]:
    """Find the voxels that are not scored.

    Parameters
    ----------
    labels
        Any shape, integers or floats.
    void
        Labels that mean "not scored". -1 and 2^64 - 1 are the same 64 bits and stand for each other.

    Returns
    -------
    void
        Booleans of the same shape.
    """
    found = np.zeros(labels.shape, np.bool_)
    if labels.dtype.kind not in "iuf":
        return found
    limits = np.iinfo(labels.dtype) if labels.dtype.kind in "iu" else np.finfo(labels.dtype)
    for wanted in {value + wrap for value in void for wrap in (-(2**64), 0, 2**64)}:
        if int(limits.min) <= wanted <= int(limits.max):
            found |= labels == labels.dtype.type(wanted)
    return found


def identifiers(array: Array, name: str) -> Array:
    """Return the array as integers from 0, as ids of objects and classes are.

    Parameters
    ----------
    array
        Any shape. Floats that hold whole numbers become int64.
    name
        Name of the array in messages, in the plural.

    Raises
    ------
    PlanError
        The array holds NaN, fractions, negative numbers, or floats too large to be exact.
    """
    if array.dtype.kind == "f":
        array = _whole_numbers(array, name)
    if array.dtype.kind not in "iub":
        raise PlanError(f"the {name} must hold integer ids, they are {array.dtype}")
    if array.dtype.kind == "i" and array.size and array.min() < 0:
        way_out = " (`ignore_label` leaves out the voxels of one label)" if name == "labels" else ""
        raise PlanError(f"the {name} must hold ids from 0, the smallest is {array.min()}{way_out}")
    return array


def _whole_numbers(array: Array, name: str) -> Array:
    missing = int(np.isnan(array).sum())
    if missing:
        raise PlanError(f"the {name} hold NaN in {missing} of {array.size} voxels: every voxel needs an id")
    fractions = array[array != np.floor(array)]
    if fractions.size:
        raise PlanError(f"the {name} hold {fractions[0]:g}, ids are whole numbers: a map of probabilities? "
                        "(segment with `kind=labels` or `kind=instances`)")
    exact = 2 ** (np.finfo(array.dtype).nmant + 1)  # float32: 16,777,216
    if array.size and np.abs(array).max() > exact:
        raise PlanError(f"the {name} hold {array.max():.0f} as {array.dtype}, which is exact up to {exact} only: "
                        "write ids as integers")
    return array.astype(np.int64)
