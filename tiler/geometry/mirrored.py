"""The canvas beyond the volume: which voxel of the volume stands at every place of it.

The volume is reflected without end and its faces are not repeated (numpy's "reflect"). On one axis of
four voxels, indices -4 to 8 hold::

    ... 2  3  2  1 | 0  1  2  3 | 2  1  0  1  2 ...

An index map is right for any context, including one longer than the volume, where padding that mirrors once
is wrong; and it needs each voxel once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tiler.geometry.boxes import Span


def mirrored_indices(span: Span, size: int) -> npt.NDArray[np.intp]:
    """(span.size,) intp: the volume's index at every place of a span, on an axis of ``size`` voxels."""
    places = np.arange(span.start, span.stop)
    if size == 1:
        return np.zeros_like(places)
    period = 2 * (size - 1)
    phase = places % period
    return np.minimum(phase, period - phase)
