"""Units of OME-NGFF in those that other formats know."""

from __future__ import annotations

from collections.abc import Mapping

from tiler.ports import Calibration

NANOMETRES: Mapping[str, float] = {
    "picometer": 1e-3, "angstrom": 0.1, "nanometer": 1.0, "micrometer": 1e3, "millimeter": 1e6, "centimeter": 1e7,
    "meter": 1e9, "inch": 25.4e6,
}
SECONDS: Mapping[str, float] = {
    "nanosecond": 1e-9, "microsecond": 1e-6, "millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0,
    "day": 86400.0,
}

SYMBOLS: Mapping[str, str] = {
    "picometer": "pm", "angstrom": "Å", "nanometer": "nm", "micrometer": "um", "millimeter": "mm", "centimeter": "cm",
    "meter": "m", "inch": "in", "nanosecond": "ns", "microsecond": "us", "millisecond": "ms", "second": "s",
    "minute": "min", "hour": "h", "day": "d",
}


def steps(calibration: Calibration) -> dict[str, tuple[float, str]]:
    """Scale and unit of the axes whose unit is known."""
    named = zip(calibration.axes, calibration.scale, calibration.units, strict=True)
    return {axis: (scale, unit) for axis, scale, unit in named if unit}


def seconds_per_frame(calibration: Calibration) -> float | None:
    """Seconds between two time points; None without a time axis or a known unit."""
    scale, unit = steps(calibration).get("t", (1.0, ""))
    return scale * SECONDS[unit] if unit in SECONDS else None
