"""Augmentation for isotropic volumes: cubes turned so that any axis becomes any other.

    tiler train ... --augment tests/benchmarks/turned_cubes.py:turned

The recipes' own augmentation flips all three axes, and turns within sections only, because most volumes have flat
voxels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]


def turned(image: Floats, classes: Labels, weights: Floats,
           random: np.random.Generator) -> tuple[Floats, Labels, Floats]:
    """A cube with z, y and x in another order.

    Parameters
    ----------
    image
        ``(c, z, y, x)`` with equal z, y and x.
    classes, weights
        ``(z, y, x)``.
    random
        The only source of randomness.
    """
    order = tuple(int(axis) for axis in random.permutation(3))
    return (image.transpose(0, *(1 + axis for axis in order)), classes.transpose(order), weights.transpose(order))
