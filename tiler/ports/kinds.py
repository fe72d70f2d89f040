"""Kinds of results: the meaning of their values, as formats, viewers and checks need to know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of result.

    Parameters
    ----------
    name
        Name in options and metadata.
    ordered
        Whether values can be averaged and subtracted; False if they are names.
    classes
        Whether classes name the "channels" of the output, its "values", or neither (None).
    types
        Names of the dtypes in which it can be written, the default first.
    dataset
        Path of its dataset in an HDF5 file, as CREMI has it (https://cremi.org/data/).
    step
        Difference between the values of two classes.
    """

    name: str
    ordered: bool
    classes: Literal["channels", "values"] | None
    types: tuple[str, ...]
    dataset: str
    step: int = 1

    @property
    def numbered(self) -> bool:
        """Whether its values are numbers of objects."""
        return self.classes is None

    @property
    def method(self) -> Literal["mean", "mode"]:
        """Rule that makes one voxel of a coarser level from several; "mode" is the most frequent value."""
        return "mean" if self.ordered else "mode"


KINDS = {kind.name: kind for kind in (
    Kind("probabilities", True, "channels", ("float32", "float16", "uint8", "float64"), "/volumes/probabilities"),
    Kind("labels", False, "values", ("uint8",), "/volumes/labels/classes"),
    Kind("mask", False, "values", ("uint8",), "/volumes/labels/mask", 255),
    Kind("instances", False, None, ("uint32", "uint16", "uint64"), "/volumes/labels/neuron_ids"),
)}
"""All kinds of results by name; `tiler.running.results` defines how each is made."""
