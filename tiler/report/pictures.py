"""Slices of the viewer: pictures, mismatches and the list of errors, within a limited file size."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tiler.metrics import Mismatch, Warping
from tiler.ports import Array
from tiler.report.clusters import Cluster, clusters_of
from tiler.report.png import Grey, jpeg_uri, palette_uri, png_uri

BUDGET = 36_000_000  # characters of all pictures, so that the file stays below 40 MB
PIXELS = 1 << 22  # pixels of a picture; larger slices are reduced
LISTED = 20_000  # number of errors in the list, largest first

KINDS = {
    Mismatch.MERGE: ("Merge", "objects of the truth are one in the proposal", (230, 97, 0)),
    Mismatch.SPLIT: ("Split", "an object of the truth is several in the proposal", (64, 156, 255)),
    Mismatch.HOLE_ADDITION: ("Hole added", "membrane inside a cell that is not there", (240, 228, 66)),
    Mismatch.HOLE_DELETION: ("Hole deleted", "membrane inside a cell was missed", (0, 190, 140)),
    Mismatch.OBJECT_ADDITION: ("Object added", "a cell that is not there", (226, 120, 190)),
    Mismatch.OBJECT_DELETION: ("Object deleted", "a cell was missed", (178, 140, 255)),
}
"""Name, meaning and colour of each type; the colours also differ in lightness and stand out from grey."""

TRUTH = ((0, 0, 0, 255), (255, 255, 255, 255))
CLEAR = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ShownSlice:
    """One slice of the viewer.

    Parameters
    ----------
    z
        Number of the slice in the labels.
    proposal
        ``(y, x)``: P(cell) from 0 to 1, or integers as stored.
    labels
        ``(y, x)``; above 0 is cell.
    image
        ``(y, x)`` uint8 grey values, or None.
    warping
        The mismatches that warping leaves.
    """

    z: int
    proposal: Array
    labels: Array
    image: Grey | None
    warping: Warping


@dataclass(frozen=True, slots=True)
class Viewer:
    """Contents of the viewer on the page.

    Parameters
    ----------
    threshold
        Threshold at which the proposal was cut.
    shape
        ``(y, x)`` of a slice.
    depth
        Number of slices that were scored.
    slices
        JSON of each slice that is shown, in order.
    errors
        JSON of each error that is listed, largest first.
    missing
        Number of errors that are not listed.
    """

    threshold: float
    shape: tuple[int, int]
    depth: int
    slices: tuple[dict[str, Any], ...]
    errors: tuple[list[float], ...]
    missing: int

    def to_json(self) -> dict[str, Any]:
        """Return the JSON that the script of the page reads."""
        kinds = [{"name": name, "meaning": meaning, "colour": list(colour)} for name, meaning, colour in KINDS.values()]
        return {"threshold": self.threshold, "height": self.shape[0], "width": self.shape[1], "kinds": kinds,
                "slices": list(self.slices), "errors": list(self.errors)}


def make_viewer(threshold: float, slices: Iterable[ShownSlice]) -> Viewer:
    """Encode slices one at a time; if they are too many, keep those with the most mismatches.

    Parameters
    ----------
    threshold
        Threshold at which the proposal was cut.
    slices
        All slices, in order.
    """
    kept, depth, shape = _Kept(), 0, (0, 0)
    for shown in slices:
        depth += 1
        shape = (shown.labels.shape[0], shown.labels.shape[1])
        kept.add(shown)
    entries = sorted(kept.heap, key=lambda entry: int(entry[2]["z"]))
    errors = sorted(((cluster, place) for place, (*_, clusters) in enumerate(entries) for cluster in clusters),
                    key=lambda pair: (-pair[0].pixels, pair[1]))
    order = list(KINDS)
    listed = tuple([place, order.index(cluster.kind), cluster.pixels, cluster.x, cluster.y, cluster.radius]
                   for cluster, place in errors[:LISTED])
    return Viewer(threshold, shape, depth, tuple(entry[2] for entry in entries), listed, max(0, len(errors) - LISTED))


@dataclass
class _Kept:
    """The slices with the most mismatches that fit into the budget."""

    heap: list[tuple[int, int, dict[str, Any], list[Cluster]]] = field(default_factory=list)
    size: int = 0

    def add(self, shown: ShownSlice) -> None:
        made = encode_slice(shown)
        self.size += _length(made)
        heapq.heappush(self.heap, (shown.warping.pixels.total, -shown.z, made, list(clusters_of(shown.warping))))
        while self.size > BUDGET and len(self.heap) > 1:
            self.size -= _length(heapq.heappop(self.heap)[2])


def _length(made: dict[str, Any]) -> int:
    return sum(len(value) for value in made.values() if isinstance(value, str))


def encode_slice(shown: ShownSlice) -> dict[str, Any]:
    """Return the pictures of one slice as data URIs, and its number of mismatches."""
    # 4096 x 4096 is 4 times PIXELS: every second pixel of a row and a column is kept
    factor = math.ceil(math.sqrt(shown.labels.size / PIXELS))
    kinds = np.zeros(shown.warping.kinds.shape, np.uint8)
    for index, kind in enumerate(KINDS, 1):
        kinds[shown.warping.kinds == kind] = index
    return {
        "z": shown.z,
        "mismatches": shown.warping.pixels.total,
        "image": None if shown.image is None else jpeg_uri(_smaller(shown.image, factor)),
        "proposal": png_uri(_smaller(grey_of_proposal(shown.proposal), factor)),
        "truth": palette_uri(_smaller((shown.labels > 0).astype(np.uint8), factor), TRUTH),
        "kinds": palette_uri(_largest(kinds, factor), (CLEAR, *((*colour, 255) for *_, colour in KINDS.values()))),
    }


def grey_of_proposal(proposal: Array) -> Grey:
    """Convert a proposal to uint8: probabilities are scaled to 0..255, integers by the range of their type."""
    if proposal.dtype.kind == "f":
        return np.asarray(np.rint(np.clip(proposal, 0, 1) * 255), np.uint8)
    if proposal.max() <= 1:
        return np.asarray(proposal * 255, np.uint8)
    return np.asarray(proposal // max(1, (int(np.iinfo(proposal.dtype).max) + 1) // 256), np.uint8)


def _smaller(image: Grey, factor: int) -> Grey:
    return image[::factor, ::factor]


def _largest(kinds: Grey, factor: int) -> Grey:
    """Reduce a picture so that every mismatch stays visible."""
    if factor == 1:
        return kinds
    rows, columns = (np.arange(0, size, factor) for size in kinds.shape)
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(kinds, rows, 0), columns, 1), np.uint8)
