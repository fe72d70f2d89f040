"""Interpret the values of a proposal: which channel is P(cell), which class is cell, whether white is membrane.

The metadata of a proposal that `tiler segment` wrote answer these questions; in other proposals white is cell.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tiler.errors import PlanError, SinkError
from tiler.geometry import Box
from tiler.ports import KINDS, Array
from tiler.sinks import open_finished
from tiler.sources.files import split_inner
from tiler.stores.label_places import is_label

CELL = frozenset({"cell", "cells", "interior", "inside", "foreground", "cytoplasm", "neuron", "neurite", "object"})
MEMBRANE = frozenset({"membrane", "membranes", "boundary", "boundaries", "border", "borders", "background",
                      "outside", "edge", "edges"})


@dataclass(frozen=True, slots=True)
class Written:
    """Metadata of a proposal; empty if tiler did not write it.

    Parameters
    ----------
    kind
        "probabilities", "labels", "mask" or "instances".
    classes
        Names of the channels, or of the values of labels.
    region
        Region of the segmented volume that the proposal covers.
    """

    kind: str | None = None
    classes: tuple[str, ...] = ()
    region: Box | None = None

    @property
    def names(self) -> Literal["channels", "values"] | None:
        """Whether the classes name the channels of the proposal, its values, or neither (None)."""
        return KINDS[self.kind].classes if self.kind in KINDS else None

    @property
    def step(self) -> int:
        """Difference between the values of two classes."""
        return KINDS[self.kind].step if self.kind in KINDS else 1


@dataclass(frozen=True, slots=True)
class Meaning:
    """Rule that converts the values of a proposal to P(cell).

    Parameters
    ----------
    channel
        Number of the channel to read.
    cell
        Value of the class "cell" in class labels; None for probabilities and masks.
    invert
        Whether white is membrane.
    rescale
        Whether integers are divided by the largest value of their type.
    """

    channel: int = 0
    cell: int | None = None
    invert: bool = False
    rescale: bool = False

    def cells(self, values: Array) -> Array:
        """Convert a slice of the proposal to P(cell); integers stay unchanged unless ``rescale`` is set."""
        if self.cell is not None:
            return np.asarray(values == self.cell, np.uint8)
        if self.rescale:
            values = np.asarray(values / np.float32(np.iinfo(values.dtype).max), np.float32)
        if not self.invert:
            return values
        if values.dtype.kind == "f":
            return np.subtract(1, values, dtype=values.dtype)
        # Unscaled integers act as masks: every value above 0 is white at every threshold.
        return np.asarray(values == 0, np.uint8)


def written_by_tiler(source: Any) -> Written:
    """Read the metadata of an output of `tiler segment` from the path of a proposal."""
    if not isinstance(source, (str, os.PathLike)):
        return Written()
    try:
        found = open_finished(_container(Path(source)))
    except SinkError:  # tiler does not write this format
        return Written()
    if not found:
        return Written()
    plan: Any = found.get("plan", {})
    model: Any = plan.get("essence", {}).get("model", {})
    classes = model.get("names", ()) if found.get("kind") in ("labels", "mask") else found.get("classes", ())
    region = Box.between(*plan["region"]) if "region" in plan else None
    return Written(found.get("kind"), tuple(classes), region)


def _container(path: Path) -> Path:
    """Return the zarr, label image or HDF5 file that a path points into; other paths unchanged."""
    file = Path(split_inner(path)[0])
    return next((part for part in (file, *file.parents) if part.suffix == ".zarr" or is_label(part)), file)


@dataclass(frozen=True, slots=True)
class Wish:
    """The user's statements about the proposal.

    Parameters
    ----------
    invert, rescale
        See `Meaning`.
    channel
        Number of a channel, or None.
    """

    invert: bool = False
    rescale: bool = False
    channel: int | None = None


def meaning_of(name: str, channels: int, dtype: np.dtype[Any], written: Written,
               wish: Wish) -> tuple[Meaning, list[str]]:
    """Decide how `isbi2012` reads a proposal, and which decisions to report.

    Parameters
    ----------
    name, channels, dtype
        Name, number of channels and type of the proposal.
    written
        Metadata of the proposal.
    wish
        Statements of the user, which take precedence.

    Returns
    -------
    meaning, notes
        The rule, and one line for each decision worth reporting.

    Raises
    ------
    PlanError
        The proposal cannot be P(cell), or its channel is ambiguous.
    """
    if written.kind in KINDS and written.names is None:
        raise PlanError(f"{name} holds {written.kind}, but the protocol isbi2012 scores P(cell): segment with "
                        "`kind=probabilities`, or score the instances with `protocol=snemi3d`, cremi or instances")
    if wish.rescale and dtype.kind not in "iu":
        raise PlanError(f"`rescale` divides integers by their largest value; {name} holds {dtype}")
    if written.names == "values":
        return _of_labels(name, written, wish)
    channel, invert, notes = _of_channels(name, channels, written.classes, wish)
    return Meaning(channel, None, invert, wish.rescale), notes


def _of_labels(name: str, written: Written, wish: Wish) -> tuple[Meaning, list[str]]:
    found = [number for number, word in enumerate(written.classes) if word.lower() in CELL]
    if len(found) == 1 and not wish.invert:
        value = found[0] * written.step
        return Meaning(cell=value), [f"{name} holds class labels: {value} is {written.classes[found[0]]!r}"]
    return Meaning(invert=wish.invert), [f"{name} holds class labels: every class above 0 is taken as cell"]


def _of_channels(name: str, channels: int, classes: Sequence[str], wish: Wish) -> tuple[int, bool, list[str]]:
    """Return the channel, whether white is membrane in it, and notes."""
    if wish.channel is None and channels == 1:
        return 0, *_polarity(name, classes[0] if len(classes) == 1 else None, wish.invert)
    if wish.channel is not None:
        if not 0 <= wish.channel < channels:
            raise PlanError(f"{name} has {channels} channels, 0 to {channels - 1}; got {wish.channel} (`channel`)")
        known = classes[wish.channel] if len(classes) == channels else None
        return wish.channel, *_polarity(name, known, wish.invert)
    words = [word.lower() for word in classes]
    for wanted in (CELL, MEMBRANE):
        found = [number for number, word in enumerate(words) if word in wanted]
        if len(words) == channels and len(found) == 1:
            return found[0], *_polarity(name, classes[found[0]], wish.invert, f", channel {found[0]} of {channels}")
    raise PlanError(f"{name} has {channels} channels (a colour image?) and does not say which is P(cell): "
                    "choose one with `channel`")


def _polarity(name: str, known: str | None, invert: bool, where: str = "") -> tuple[bool, list[str]]:
    if known is None:
        return invert, [f"{name} is inverted: white is membrane (`invert`)"] if invert else []
    if known.lower() in MEMBRANE:
        return True, [f"{name} holds P({known}){where}: it is inverted, P(cell) is scored"]
    if invert:
        return True, [f"{name} holds P({known}){where} by its metadata, but is inverted as requested (`invert`)"]
    return False, [f"{name} holds P({known}){where}, which is scored"] if where else []
