"""What the values of an output mean, as far as its format, its viewer and its checks must know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of result.

    Parameters
    ----------
    name
        What the user asks for, and what stands in the metadata.
    ordered
        Whether values can be averaged and subtracted; False where they are names.
    classes
        What the classes name: the "channels" of the output, its "values", or nothing in it (None).
    types
        Names of the dtypes in which it can be written, the default first.
    dataset
        Path of its dataset in an HDF5 file, as CREMI has it (https://cremi.org/data/).
    """

    name: str
    ordered: bool
    classes: Literal["channels", "values"] | None
    types: tuple[str, ...]
    dataset: str

    @property
    def method(self) -> Literal["mean", "mode"]:
        """How several voxels become one of a coarser level: "mode" is the most frequent value."""
        return "mean" if self.ordered else "mode"


KINDS = {kind.name: kind for kind in (
    Kind("probabilities", True, "channels", ("float32", "float16", "uint8", "float64"), "/volumes/probabilities"),
    Kind("labels", False, "values", ("uint8",), "/volumes/labels/classes"),
    Kind("instances", False, None, ("uint32", "uint16", "uint64"), "/volumes/labels/neuron_ids"),
)}
"""Every kind of result by its name. How each is made stands in `tiler.running.results`."""
