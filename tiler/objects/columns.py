"""The columns of a table of objects, in voxels and in physical units, from their measures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tiler.geometry import Box
from tiler.objects.measures import Measures
from tiler.ports import Array, Calibration
from tiler.ports.units import NANOMETRES, steps

AXES = ("z", "y", "x")

Columns = dict[str, Array]


def columns_of(table: Measures, region: Box, calibration: Calibration, channels: Sequence[str]) -> Columns:
    """(n,) arrays by the names of their columns, from the measures of a region of labels.

    ``id``; ``voxels``; ``volume_UNIT3``, or ``area_UNIT2`` of a single section; the centroid ``z``, ``y``, ``x`` in
    voxels (the middle of the first voxel is 0) and ``z_UNIT``, ``y_UNIT``, ``x_UNIT`` in the world; the box
    ``z_start`` to ``x_stop``, half open; ``sections`` it extends over; ``touches_border``; and for each channel of an
    image ``NAME_mean``, ``NAME_min``, ``NAME_max``, ``NAME_std``. Columns in physical units are left out where the
    voxel size is unknown.
    """
    found: Columns = {"id": table.ids, "voxels": table.voxels, **_physical_size(table, region, calibration)}
    found |= dict(zip(AXES, table.centres.T, strict=True))
    found |= _physical_centres(table, calibration)
    for axis, start, stop in zip(AXES, table.starts.T, table.stops.T, strict=True):
        found |= {f"{axis}_start": start, f"{axis}_stop": stop}
    found |= {"sections": table.stops[:, 0] - table.starts[:, 0], "touches_border": table.touches(region)}
    for name, values in zip(channels, table.images, strict=True):
        found |= {f"{name}_mean": values.mean, f"{name}_min": values.least, f"{name}_max": values.most,
                  f"{name}_std": np.sqrt(values.squares / table.voxels)}
    return found


def _lengths(calibration: Calibration) -> tuple[str, dict[str, float]]:
    """The unit of x, and the known sides of a voxel in that unit."""
    known = {axis: step for axis, step in steps(calibration).items() if step[1] in NANOMETRES}
    if not {"y", "x"} <= known.keys():
        return "", {}
    unit = known["x"][1]
    return unit, {axis: scale * (NANOMETRES[own] / NANOMETRES[unit]) for axis, (scale, own) in known.items()}


def _physical_size(table: Measures, region: Box, calibration: Calibration) -> Columns:
    unit, sides = _lengths(calibration)
    if {"z", "y", "x"} <= sides.keys():
        return {f"volume_{unit}3": table.voxels * (sides["z"] * sides["y"] * sides["x"])}
    if sides and region.shape[0] == 1:
        return {f"area_{unit}2": table.voxels * (sides["y"] * sides["x"])}
    return {}


def _physical_centres(table: Measures, calibration: Calibration) -> Columns:
    unit, sides = _lengths(calibration)
    offsets = dict(zip(calibration.axes, zip(calibration.offset, calibration.units, strict=True), strict=True))
    found = {}
    for place, axis in enumerate(AXES):
        if axis in sides:
            offset, own = offsets[axis]
            found[f"{axis}_{unit}"] = (table.centres[:, place] * sides[axis]
                                       + offset * (NANOMETRES[str(own)] / NANOMETRES[unit]))
    return found
