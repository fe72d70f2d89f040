"""The canvas beyond the volume, as a map from places of the canvas to voxels of the volume.

The volume is reflected again and again, and its faces are not repeated (numpy's "reflect"). On an axis of four
voxels, the places -4 to 8 hold the voxels::

    ... 2  3  2  1 | 0  1  2  3 | 2  1  0  1  2 ...

Unlike padding that mirrors once, the index map is right for any context, also for one that is longer than the
volume, and each voxel is read once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tiler.geometry.boxes import Span


def mirrored_indices(span: Span, size: int) -> npt.NDArray[np.intp]:
    """Map every place of a span to a voxel of an axis.

    Parameters
    ----------
    span
        Places on the canvas; may begin before 0 and end after ``size``.
    size
        Voxels of the axis, at least 1.

    Returns
    -------
    indices
        ``(span.size,)`` intp, from 0 to ``size - 1``.
    """
    places = np.arange(span.start, span.stop)
    if size == 1:
        return np.zeros_like(places)
    period = 2 * (size - 1)
    phase = places % period  # size 4: the period is 6, and place -1 has phase 5, which is voxel min(5, 6 - 5) = 1
    return np.minimum(phase, period - phase)
