"""Units of length and time, however a file spells them: one table for all formats.

The right-hand names are those of OME-NGFF (https://ngff.openmicroscopy.org/0.5/#axes-md).
"""

from __future__ import annotations

import unicodedata
from typing import Any

SYMBOLS = {
    "am": "attometer", "fm": "femtometer", "pm": "picometer", "nm": "nanometer", "um": "micrometer",
    "\u03bcm": "micrometer", "mm": "millimeter", "cm": "centimeter", "dm": "decimeter",
    "m": "meter", "km": "kilometer", "Mm": "megameter", "\u00e5": "angstrom", "in": "inch", '"': "inch", "ft": "foot",
    "yd": "yard", "mi": "mile",
    "fs": "femtosecond", "ps": "picosecond", "ns": "nanosecond", "us": "microsecond", "\u03bcs": "microsecond",
    "ms": "millisecond", "s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "d": "day",
}
"""Keys are in Unicode's form NFKC, in which the micro sign is a Greek mu and the sign of the angstrom a letter."""
WORDS = {"micron": "micrometer", "\u00e5ngstr\u00f6m": "angstrom", "\u00e5ngstrom": "angstrom", "feet": "foot",
         "inches": "inch", "msec": "millisecond", "usec": "microsecond"}
PREFIXES = ("atto", "femto", "pico", "nano", "micro", "milli", "centi", "deci", "", "kilo", "mega")
NAMES = frozenset(f"{prefix}{base}" for prefix in PREFIXES for base in ("meter", "second")) | {
    "angstrom", "inch", "foot", "yard", "mile", "minute", "hour", "day"}


def unit_of(value: Any) -> str | None:
    """The unit as OME-NGFF spells it, None for one that is not known (``"pixel"``) or no text."""
    if not isinstance(value, (str, bytes)):
        return None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    text = unicodedata.normalize("NFKC", text).strip()
    if text in SYMBOLS:
        return SYMBOLS[text]
    lower = text.lower().replace("metre", "meter")
    single = lower.removesuffix("s")
    for word in (lower, single):
        if word in NAMES:
            return word
        if word in WORDS:
            return WORDS[word]
    return SYMBOLS.get(lower)
