"""Read a box of the canvas; voxels beyond the volume are mirrored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tiler.geometry import Box, Span
from tiler.geometry.mirrored import mirrored_indices
from tiler.ports import Array, Source


def read_mirrored(source: Source, box: Box) -> Array:
    """``(c, *box.shape)``: a box of the canvas, which may reach beyond the volume on every side.

    Reads, once, the smallest box of the volume that holds all required voxels.
    """
    volume = Box.of_shape(source.shape[1:])
    if volume.contains(box):
        return source.read(box)
    maps = [mirrored_indices(span, size) for span, size in zip(box.spans, volume.shape, strict=True)]
    needed = Box.between([int(m.min()) for m in maps], [int(m.max()) + 1 for m in maps])
    data = source.read(needed)
    for axis, (indices, span) in enumerate(zip(maps, needed.spans, strict=True), start=1):
        if not _is_plain(indices, span):
            data = data.take(indices - span.start, axis=axis)
    return data


def _is_plain(indices: npt.NDArray[np.intp], span: Span) -> bool:
    """Whether the map is the span itself, so that indexing would only copy."""
    return len(indices) == span.size and bool((indices == np.arange(span.start, span.stop)).all())
