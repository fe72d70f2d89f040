"""Split touching objects by a watershed; each object by itself, independent of other objects and of blocks.

The rule, for one object: its depth is the distance of every voxel to the nearest voxel outside of it (what lies beyond
the volume is not outside), or a given map such as a probability. Seeds are the h-maxima of the depth: peaks from which
one has to descend by at least ``height`` to reach a higher one. Flooding from the seeds, deepest voxels first, gives
the parts. An object with a single seed is not split.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiler.geometry import Box, Shape
from tiler.objects.connectivity import Connectivity
from tiler.objects.peaks import SMALL, has_one_peak, small_distances
from tiler.ports import Array

Mask = npt.NDArray[np.bool_]
STEPS = 2**16
"""Number of steps into which a unit of depth is quantised."""

BYTES = 120
"""Memory for each voxel of the box of an object that is split; measured: 97 to 118."""


@dataclass(frozen=True, slots=True)
class Watershed:
    """Rule for splitting objects.

    Parameters
    ----------
    height
        Least height of a peak: in voxels along x for distances, else in units of the depth map.
    connectivity
        Connectivity of the objects.
    sampling
        ``(z, y, x)`` sides of a voxel, relative to x.
    limit
        Objects whose box has more voxels than this are not split.
    """

    height: float
    connectivity: Connectivity
    sampling: tuple[float, float, float] = (1.0, 1.0, 1.0)
    limit: int = 2**24

    def splits(self, box: Box) -> bool:
        """Whether an object of this box is small enough."""
        return box.voxels <= self.limit

    def memory(self, volume: Shape) -> int:
        """Bytes for the largest object of a volume that is split; sections hold objects of their own if flat."""
        return BYTES * min(self.limit, math.prod(volume[1:] if self.connectivity.flat else volume))

    def parts(self, inside: Mask, box: Box, volume: Shape, depth: Array | None = None) -> Array:
        """``(z, y, x)`` uint32: parts of an object, numbered from 1; 0 outside.

        Parameters
        ----------
        inside
            ``(z, y, x)`` bool: voxels of the object in its box.
        box, volume
            Box of the object, and size of the volume.
        depth
            ``(z, y, x)`` float: map to flood; None for distances.
        """
        if depth is None:
            depth = self.distances(inside, box, volume)
        structure = self.connectivity.structure
        if has_one_peak(np.round(depth * STEPS), inside, structure, float(np.round(self.height * STEPS))):
            return inside.astype(np.uint32)
        if len(inside) > 1:
            return self._flooded(inside, depth, structure)
        return self._flooded(inside[0], depth[0], structure[1])[None]  # as a section, it takes a third of the memory

    def _flooded(self, inside: Mask, depth: Array, structure: Mask) -> Array:
        """The parts of an object, of a volume or a section."""
        from scipy import ndimage
        from skimage.segmentation import watershed

        seeds, count = ndimage.label(self._peaks(np.where(inside, depth, 0), structure), structure)
        found: Array = inside if count < 2 else watershed(-depth, seeds, connectivity=structure, mask=inside)
        return found.astype(np.uint32)

    def distances(self, inside: Mask, box: Box, volume: Shape) -> Array:
        """``(z, y, x)`` float64: distance of each voxel of an object from the outside."""
        flat = self.connectivity.flat
        pads = [(0, 0) if axis == 0 and flat else (int(span.start > 0), int(span.stop < size))
                for axis, (span, size) in enumerate(zip(box.spans, volume, strict=True))]
        padded = _padded(inside, pads)
        if padded.all():
            return np.ones(inside.shape)
        from scipy import ndimage

        depth = small_distances(padded, np.array(self.sampling)) if padded.size <= SMALL else \
            ndimage.distance_transform_edt(padded, self.sampling)
        cropped: Array = depth[tuple(slice(low, low + size) for (low, _), size in zip(pads, inside.shape, strict=True))]
        return cropped

    def _peaks(self, depth: Array, structure: Mask) -> Mask:
        """Where the h-maxima of a non-negative map are; depths are rounded so that nearly equal ones are equal."""
        from skimage.morphology import local_maxima, reconstruction

        height, depth = np.round(self.height * STEPS), np.round(depth * STEPS)
        found: Mask = local_maxima(reconstruction(np.maximum(depth - height, 0), depth, footprint=structure), structure)
        return found


def _padded(inside: Mask, pads: list[tuple[int, int]]) -> Mask:
    """As `numpy.pad` with zeros, which takes longer than all else for small objects."""
    padded = np.zeros([low + size + high for (low, high), size in zip(pads, inside.shape, strict=True)], bool)
    padded[tuple(slice(low, low + size) for (low, _), size in zip(pads, inside.shape, strict=True))] = inside
    return padded
