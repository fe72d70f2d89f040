"""Align layers in physical space; layers without a voxel size take that of another layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiler.ports import Calibration
from tiler.ports.units import NANOMETRES, SECONDS

METRES = {unit: size * 1e-9 for unit, size in NANOMETRES.items()}


@dataclass(frozen=True, slots=True)
class Placed:
    """Position of a layer, with one entry for each axis.

    Parameters
    ----------
    axes
        Names of the axes, one letter each.
    scale
        Size of a voxel in ``units``.
    units
        ``"m"``, ``"s"``, or empty if unknown.
    shift
        Distance from the low face of the first layer's origin voxel to the low face of this layer's first voxel, in
        voxels of this layer.
    """

    axes: tuple[str, ...]
    scale: tuple[float, ...]
    units: tuple[str, ...]
    shift: tuple[float, ...]


def place(calibrations: Sequence[Calibration]) -> list[Placed]:
    """Align layers; an axis without a unit takes its voxel size from the first layer that has a unit for it."""
    known: dict[str, tuple[float, str]] = {}
    for calibration in calibrations:
        for axis, step in _steps(calibration).items():
            if step[1]:
                known.setdefault(axis, step)
    first = _steps(calibrations[0], known) if calibrations else {}
    return [_placed(calibration, known, first) for calibration in calibrations]


def _placed(calibration: Calibration, known: dict[str, tuple[float, str]],
            first: dict[str, tuple[float, str]]) -> Placed:
    steps = _steps(calibration, known)
    shift = []
    for axis, own, offset in zip(calibration.axes, calibration.scale, calibration.offset, strict=True):
        # Offsets locate voxel centres; levels of an image agree in faces, not in centres.
        reference = first.get(axis, steps[axis])[0] / steps[axis][0]
        shift.append((offset / own if own else 0.0) + (reference - 1) / 2)
    return Placed(calibration.axes, tuple(steps[axis][0] for axis in calibration.axes),
                  tuple(steps[axis][1] for axis in calibration.axes), tuple(shift))


def _steps(calibration: Calibration, known: dict[str, tuple[float, str]] | None = None) -> dict[str, tuple[float, str]]:
    """Return the voxel size of each axis in metres or seconds; without a unit that of ``known``, else unchanged."""
    found = {}
    for axis, scale, unit in zip(calibration.axes, calibration.scale, calibration.units, strict=True):
        base = METRES if axis != "t" else SECONDS
        if unit is not None and unit in base:
            found[axis] = scale * base[unit], "s" if axis == "t" else "m"
        else:
            found[axis] = (known or {}).get(axis, (scale, ""))
    return found
