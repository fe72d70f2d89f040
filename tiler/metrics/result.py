"""Base class of all results, which become JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar


def plain(value: object) -> object:
    """Convert a value for JSON: NaN and infinity become null, tuples become lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(entry) for entry in value]
    return value


class Result:
    """Scores of one protocol; subclasses are frozen dataclasses."""

    protocol: ClassVar[str]

    def headline(self) -> Mapping[str, float]:
        """Return the scores by which the protocol is quoted."""
        raise NotImplementedError

    def details(self) -> Mapping[str, object]:
        """Return all values for the JSON."""
        return {}

    def to_dict(self) -> dict[str, object]:
        """Return plain Python objects, ready for JSON."""
        made = plain({"protocol": self.protocol, **self.details()})
        assert isinstance(made, dict)
        return made

    def to_json(self, indent: int | None = None) -> str:
        """Return one JSON object."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)
