"""Link objects of each section to those of the next: for 2-D networks on stacks with thick sections.

Objects of two neighbouring sections are linked if each overlaps the other more than any other object, and if their
intersection over union reaches a threshold. If two overlaps are equal, the object whose first voxel comes first is
chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tiler.ports import Array

Ids = npt.NDArray[np.int64]


def overlap_of(above: Array, below: Array) -> Ids:
    """``(3, n)`` int64: pairs of ids, and the number of voxels that they share.

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
    """``(3, n)`` int64: overlaps between neighbouring sections of a block ``(z, y, x)``, as `overlap_of`."""
    none = np.zeros((3, 0), np.int64)
    return np.concatenate([none, *map(overlap_of, ids[:-1], ids[1:])], axis=1)


def links(overlaps: Sequence[Ids], sizes: Ids, firsts: Ids, least: float) -> Ids:
    """``(2, m)`` int64: pairs of linked objects.

    Parameters
    ----------
    overlaps
        ``(3, n)`` arrays like those of `overlap_of`, but with indices into the tables; together they hold all overlaps
        of some sections with the sections that follow them.
    sizes, firsts
        Number of voxels and first voxel of every object, by the same index.
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
    """``(n,)`` bool: whether a pair consists of an object and the partner with the largest overlap."""
    order = np.lexsort((firsts[partners], -shared, objects))
    leads = np.ones(len(order), bool)
    leads[1:] = objects[order][1:] != objects[order][:-1]
    best = np.zeros(len(order), bool)
    best[order[leads]] = True
    return best
