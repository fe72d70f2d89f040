"""Order of the images of a folder, by the numbers in their names, with a warning if the numbers look odd."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

logger = logging.getLogger(__name__)
LAST_NUMBER = re.compile(r"(.*?)(-?)([0-9]+)([^0-9]*)")
NAMED = 3
"""Largest number of gaps that a message lists."""


def in_order(folder: Path, names: Sequence[str]) -> list[str]:
    """The names in natural order, ``z2`` before ``z10``; ``z-1`` before ``z0`` if some have a minus sign.

    A warning reports gaps in the numbers and numbers that appear twice.
    """
    numbers = _numbers(names)
    if numbers is None:
        return sorted(names, key=lambda name: (natural(name), len(name), name))
    ordered = sorted(names, key=lambda name: (numbers[name], natural(name), len(name), name))
    _warn_of_gaps(folder, ordered, [numbers[name] for name in ordered])
    return ordered


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key under which ``z2`` comes before ``z10``, and numbers before letters."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(not digits, int(digits[:400] or 0), text.lower()) for digits, text in parts]


def _numbers(names: Sequence[str]) -> dict[str, int] | None:
    """The last number in each name, if the names differ in nothing else; None otherwise.

    A minus sign counts only if some names have one and others do not; otherwise it is a hyphen.
    """
    found = {name: LAST_NUMBER.fullmatch(Path(name).stem) for name in names}
    matches = [match for match in found.values() if match is not None and len(match[3]) < 400]
    if len(matches) < len(names) or len({(match[1], match[4]) for match in matches}) != 1:
        return None
    signed = {bool(match[2]) for match in matches} == {True, False}
    return {name: int(match[3]) * (-1 if signed and match[2] else 1) for name, match in found.items() if match}


def _warn_of_gaps(folder: Path, names: list[str], numbers: list[int]) -> None:
    steps = Counter(after - before for before, after in pairwise(numbers))
    if not steps:
        return
    usual = steps.most_common(1)[0][0]
    gaps = [f"{a} and {b}" for (a, b), (before, after) in zip(pairwise(names), pairwise(numbers), strict=True)
            if after - before > max(usual, 1)]
    twice = [f"{a} and {b}" for (a, b), (before, after) in zip(pairwise(names), pairwise(numbers), strict=True)
             if after == before]
    for found, what in ((gaps, "numbers are missing between"), (twice, "the same number is in")):
        if found:
            more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
            logger.warning("%s: %s %s%s: the slices are stacked as they follow each other", folder, what,
                           ", ".join(found[:NAMED]), more)
