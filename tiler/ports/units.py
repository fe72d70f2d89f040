"""Units of length and time: how files spell them, and what they are. One table for all formats.

The right-hand names are those of OME-NGFF (https://ngff.openmicroscopy.org/0.5/#axes-md).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from tiler.ports.volumes import Calibration

SPELLINGS = {
    "am": "attometer", "fm": "femtometer", "pm": "picometer", "nm": "nanometer", "um": "micrometer",
    "\u03bcm": "micrometer", "\\u00b5m": "micrometer", "mm": "millimeter", "cm": "centimeter", "dm": "decimeter",
    "m": "meter", "km": "kilometer", "Mm": "megameter", "\u00e5": "angstrom", "in": "inch", '"': "inch", "ft": "foot",
    "yd": "yard", "mi": "mile",
    "fs": "femtosecond", "ps": "picosecond", "ns": "nanosecond", "us": "microsecond", "\u03bcs": "microsecond",
    "ms": "millisecond", "s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "d": "day",
}
"""Keys are in Unicode's form NFKC, where the micro sign is a Greek mu and the sign of the angstrom a letter. ImageJ
writes the micro sign as the six characters of its escape."""
WORDS = {"micron": "micrometer", "\u00e5ngstr\u00f6m": "angstrom", "\u00e5ngstrom": "angstrom", "feet": "foot",
         "inches": "inch", "msec": "millisecond", "usec": "microsecond"}
PREFIXES = {"atto": -18, "femto": -15, "pico": -12, "nano": -9, "micro": -6, "milli": -3, "centi": -2, "deci": -1,
            "": 0, "kilo": 3, "mega": 6}
"""Powers of ten."""
NAMES = frozenset(f"{prefix}{base}" for prefix in PREFIXES for base in ("meter", "second")) | {
    "angstrom", "inch", "foot", "yard", "mile", "minute", "hour", "day"}


NANOMETRES: Mapping[str, float] = {
    **{f"{prefix}meter": float(f"1e{power + 9}") for prefix, power in PREFIXES.items()},
    "angstrom": 0.1, "inch": 25.4e6, "foot": 304.8e6, "yard": 914.4e6, "mile": 1609.344e9}
"""Nanometres in each unit of length."""
SECONDS: Mapping[str, float] = {
    **{f"{prefix}second": float(f"1e{power}") for prefix, power in PREFIXES.items()},
    "minute": 60.0, "hour": 3600.0, "day": 86400.0}
"""Seconds in each unit of time."""
SYMBOLS: Mapping[str, str] = {
    "picometer": "pm", "angstrom": "\u00c5", "nanometer": "nm", "micrometer": "um", "millimeter": "mm",
    "centimeter": "cm", "meter": "m", "inch": "in", "nanosecond": "ns", "microsecond": "us", "millisecond": "ms",
    "second": "s", "minute": "min", "hour": "h", "day": "d"}
"""How each unit is written where a format wants it short."""


def unit_of(value: Any) -> str | None:
    """The unit as OME-NGFF spells it, None for one that is not known (``"pixel"``) or no text."""
    if not isinstance(value, (str, bytes)):
        return None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    text = unicodedata.normalize("NFKC", text).strip()
    if text in SPELLINGS:
        return SPELLINGS[text]
    lower = text.lower().replace("metre", "meter")
    single = lower.removesuffix("s")
    for word in (lower, single):
        if word in NAMES:
            return word
        if word in WORDS:
            return WORDS[word]
    return SPELLINGS.get(lower)


def steps(calibration: Calibration) -> dict[str, tuple[float, str]]:
    """Scale and unit of the axes whose unit is known."""
    named = zip(calibration.axes, calibration.scale, calibration.units, strict=True)
    return {axis: (scale, unit) for axis, scale, unit in named if unit}


def nanometres(calibration: Calibration) -> tuple[float | None, float, float] | None:
    """``(z, y, x)`` of a voxel in nanometres; None without a unit of length in y and x. z alone may be None."""
    known = {axis: abs(scale) * NANOMETRES[unit] for axis, (scale, unit) in steps(calibration).items()
             if unit in NANOMETRES and scale}
    return (known.get("z"), known["y"], known["x"]) if {"y", "x"} <= known.keys() else None


def seconds_per_frame(calibration: Calibration) -> float | None:
    """Seconds between two time points; None without a time axis or a known unit."""
    scale, unit = steps(calibration).get("t", (1.0, ""))
    return scale * SECONDS[unit] if unit in SECONDS else None
