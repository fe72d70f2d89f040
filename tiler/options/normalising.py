"""Rules of normalisation: ``weights``, ``volume``, ``volume:LOW,HIGH``, ``MEAN,STD``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tiler.errors import PlanError
from tiler.options.parsers import numbers


@dataclass(frozen=True, slots=True)
class Rule:
    """Origin of the numbers with which grey values are normalised.

    Parameters
    ----------
    source
        "weights" (stored with the weights), "volume" (measured in a first pass) or "fixed" (given).
    values
        For "fixed": mean and standard deviation. For "volume": low and high percentile, or empty for mean and
        standard deviation.
    """

    source: str
    values: tuple[float, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether the whole volume is measured in a first pass."""
        return self.source == "volume"

    def __str__(self) -> str:
        listed = ",".join(str(int(value)) if value.is_integer() else repr(value) for value in self.values)
        if self.source == "fixed":
            return listed
        return f"{self.source}:{listed}" if listed else self.source


def parse_rule(value: Any, option: str = "normalise") -> Rule:
    """The rule that a text states.

    Raises
    ------
    PlanError
        If the text does not state a rule.
    """
    if isinstance(value, Rule):
        return value
    if value in ("weights", "volume"):
        return Rule(value)
    if isinstance(value, str):
        name, colon, listed = value.rpartition(":")
        found = numbers(listed, 2)
        if found and not colon and found[1] > 0:
            return Rule("fixed", found)
        if found and name == "volume" and 0 <= found[0] < found[1] <= 100:
            return Rule(name, found)
    raise PlanError(f"{value!r} is not a normalisation: give weights, volume, volume:LOW,HIGH with percentiles "
                    "0 <= LOW < HIGH <= 100, or MEAN,STD with a positive STD", option=option)
