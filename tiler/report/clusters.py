"""Mismatches grouped into errors: connected pixels of one type, as in the clustered warping error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tiler.metrics import Mismatch, Warping

ALL_AROUND = np.ones((3, 3), np.bool_)


@dataclass(frozen=True, slots=True, order=True)
class Cluster:
    """Connected mismatches of one type.

    Parameters
    ----------
    pixels
        Number of pixels.
    kind
        Type of the mismatch.
    y, x
        Centre of the bounding box, in pixels.
    radius
        Half the longer side of the bounding box, in pixels.
    """

    pixels: int
    kind: Mismatch
    y: float
    x: float
    radius: float


def clusters_of(warping: Warping) -> Iterator[Cluster]:
    """Yield the clusters of one slice; their counts by type are ``warping.clusters``."""
    for kind in Mismatch:
        for white in (False, True):
            chosen = (warping.kinds == kind) & (warping.warped.astype(np.bool_) == white)
            if not chosen.any():
                continue
            diagonal = kind == Mismatch.MERGE or (kind == Mismatch.HOLE_ADDITION and white)
            numbers, count = ndimage.label(chosen, ALL_AROUND if diagonal else None)
            sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
            for size, (rows, columns) in zip(sizes.tolist(), ndimage.find_objects(numbers), strict=True):
                yield Cluster(size, kind, (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2,
                              max(rows.stop - rows.start, columns.stop - columns.start) / 2)
