"""Objects of sections, linked from each section to the next: for 2-D networks on stacks with thick sections.

An object and one of the next section are linked if each overlaps the other more than any other object there, and they
share enough: their intersection over union is at least a given number. Where two overlap equally, the one whose first
voxel comes first counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tiler.ports import Array

Ids = npt.NDArray[np.int64]


def overlap_of(above: Array, below: Array) -> Ids:
    """(3, n) int64: pairs of numbers, and how many voxels they share.

    Parameters
    ----------
    above, below
        ``(y, x)`` ids of two sections; 0 is background.
    """
    both = (above > 0) & (below > 0)
    keys = above[both].astype(np.uint64) << np.uint64(32) | below[both].astype(np.uint64)
    found, shared = np.unique(keys, return_counts=True)
    return np.stack([found >> np.uint64(32), found & np.uint64(2**32 - 1), shared.astype(np.uint64)]).astype(np.int64)


def overlaps_within(ids: Array) -> Ids:
    """(3, n) int64: the same for all sections of a block ``(z, y, x)`` and those that follow them."""
    none = np.zeros((3, 0), np.int64)
    return np.concatenate([none, *map(overlap_of, ids[:-1], ids[1:])], axis=1)


def links(overlaps: Sequence[Ids], sizes: Ids, firsts: Ids, least: float) -> Ids:
    """(2, m) int64: the objects that are linked.

    Parameters
    ----------
    overlaps
        (3, n) each, as `overlap_of` gives them, by index in the tables; together all that some sections share with
        those that follow them.
    sizes, firsts
        Voxels and first voxel of every object, by the same index.
    least
        Least intersection over union.
    """
    pairs, part = np.unique(np.concatenate([each[:2] for each in overlaps], axis=1), axis=1, return_inverse=True)
    if not pairs.size:
        return pairs
    shared = np.bincount(part.ravel(), weights=np.concatenate([each[2] for each in overlaps])).astype(np.int64)
    above, below = pairs
    chosen = _best(above, below, shared, firsts) & _best(below, above, shared, firsts)
    enough = shared >= least * (sizes[above] + sizes[below] - shared)
    return pairs[:, chosen & enough]


def _best(objects: Ids, partners: Ids, shared: Ids, firsts: Ids) -> npt.NDArray[np.bool_]:
    """(n,): which pairs are those of an object and the partner that it shares most with."""
    order = np.lexsort((firsts[partners], -shared, objects))
    leads = np.ones(len(order), bool)
    leads[1:] = objects[order][1:] != objects[order][:-1]
    best = np.zeros(len(order), bool)
    best[order[leads]] = True
    return best
