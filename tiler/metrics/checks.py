"""What every metric asks of its arrays, each refusal in one line."""

from __future__ import annotations

from typing import Any

import numpy as np

from tiler.errors import PlanError
from tiler.ports import Array

ROUNDING = 1e-6  # by which a soft-max in float32 may leave 0..1

def same_shape(proposal: Array, labels: Array, mask: Array | None = None) -> None:
    """Refuse arrays of different shapes and empty ones.

    Raises
    ------
    PlanError
        Both shapes are named.
    """
    if proposal.shape != labels.shape:
        raise PlanError(f"the proposal has shape {proposal.shape}, the labels {labels.shape}: they must be equal "
                        "(choose a part with --slices or --roi)")
    if mask is not None and mask.shape != labels.shape:
        raise PlanError(f"the mask has shape {mask.shape}, the labels {labels.shape}: they must be equal (--mask)")
    if labels.size == 0:
        raise PlanError(f"there is nothing to score: the labels have shape {labels.shape}")


def slice_2d(proposal: Array, labels: Array, mask: Array | None = None) -> None:
    """Refuse what is not one grey slice: a metric that is defined slice by slice takes (y, x).

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

    Integers pass as they are, since the challenge's evaluator rescales nothing; see `integer_hint`.

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
                        "wanted (integers can be divided by their largest value with --rescale)")


def integer_hint(dtype: np.dtype[Any], high: float) -> str | None:
    """What to tell about integers that are compared with thresholds as they are; None where nothing is odd.

    Parameters
    ----------
    dtype
        Of the proposal.
    high
        Its largest value.
    """
    if dtype.kind not in "iu" or high <= 1:
        return None
    return (f"the proposal is {dtype} with values up to {high:g} and is compared with the thresholds 0..1 as it "
            f"is: every value above 0 counts as white (--rescale divides by {np.iinfo(dtype).max})")


def identifiers(array: Array, name: str) -> Array:
    """The array as unsigned integers, which ids of objects and classes are.

    Raises
    ------
    PlanError
        It holds real or negative numbers.
    """
    if array.dtype.kind not in "iub":
        raise PlanError(f"the {name} must hold integer ids, they are {array.dtype}")
    if array.dtype.kind == "i" and array.size and array.min() < 0:
        raise PlanError(f"the {name} must hold ids from 0, the smallest is {array.min()}")
    return array
