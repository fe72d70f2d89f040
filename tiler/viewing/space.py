"""Layers over each other: one physical step for all that do not know theirs, offsets in voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiler.ports import Calibration
from tiler.sinks.units import NANOMETRES, SECONDS

METRES = {unit: size * 1e-9 for unit, size in NANOMETRES.items()}


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a layer lies, one entry an axis.

    Parameters
    ----------
    axes
        One letter each.
    scale
        Size of a voxel in ``units``.
    units
        ``"m"``, ``"s"``, or empty where nothing is known.
    shift
        Of the first voxel's low face against that of the first layer's origin, in voxels of the layer.
    """

    axes: tuple[str, ...]
    scale: tuple[float, ...]
    units: tuple[str, ...]
    shift: tuple[float, ...]


def place(calibrations: Sequence[Calibration]) -> list[Placed]:
    """Lay layers over each other. An axis without a unit takes voxels from the first layer that has one for it."""
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
        # Offsets are those of the middle of voxels; faces, unlike middles, agree between levels of an image.
        reference = first.get(axis, steps[axis])[0] / steps[axis][0]
        shift.append((offset / own if own else 0.0) + (reference - 1) / 2)
    return Placed(calibration.axes, tuple(steps[axis][0] for axis in calibration.axes),
                  tuple(steps[axis][1] for axis in calibration.axes), tuple(shift))


def _steps(calibration: Calibration, known: dict[str, tuple[float, str]] | None = None) -> dict[str, tuple[float, str]]:
    """Size of a voxel in metres or seconds along each axis; where it has no unit, that of ``known``, else as it is."""
    found = {}
    for axis, scale, unit in zip(calibration.axes, calibration.scale, calibration.units, strict=True):
        base = METRES if axis != "t" else SECONDS
        if unit is not None and unit in base:
            found[axis] = scale * base[unit], "s" if axis == "t" else "m"
        else:
            found[axis] = (known or {}).get(axis, (scale, ""))
    return found
