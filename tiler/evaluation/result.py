"""What an evaluation gives back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tiler.geometry import Box
from tiler.metrics import Isbi2012Result, Result
from tiler.report.scores import score_table, shown


@dataclass(frozen=True)
class Evaluation:
    """Scores of a proposal, and what was compared to get them.

    Parameters
    ----------
    result
        What the protocol measures.
    proposal, labels, mask
        Names of the volumes.
    region
        What of the labels was compared, (z, y, x).
    notes
        What was decided about the input: polarity, rescaling, region.
    """

    result: Result
    proposal: str
    labels: str
    mask: str | None
    region: Box
    notes: tuple[str, ...] = ()

    @property
    def protocol(self) -> str:
        return self.result.protocol

    @property
    def scores(self) -> Mapping[str, float]:
        """The scores that the protocol is quoted by."""
        return self.result.headline()

    official = scores

    @property
    def thresholds_reached(self) -> Mapping[str, float | None]:
        """For each score the threshold at which it was reached; empty where a protocol knows no threshold."""
        return self.result.thresholds_reached if isinstance(self.result, Isbi2012Result) else {}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know before the scores are quoted."""
        if not isinstance(self.result, Isbi2012Result):
            return self.notes
        return self.notes + self.result.remarks + _degenerate_remarks(self.result)

    def to_dict(self) -> dict[str, object]:
        """Plain Python objects, ready for JSON."""
        compared = {"proposal": self.proposal, "labels": self.labels, "mask": self.mask,
                    "region": [list(self.region.start), list(self.region.stop)], "notes": list(self.notes)}
        measured = self.result.to_dict()
        protocol = measured.pop("protocol")
        scores = {name: measured[name] for name in self.scores if name in measured}
        rest = {name: value for name, value in measured.items() if name not in scores}
        return {"protocol": protocol, **compared, **({"scores": scores} if scores else {}), **rest}

    def to_json(self, indent: int | None = None) -> str:
        """One JSON object; for ``isbi2012`` with ``official`` and ``thresholds_reached``."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def table(self) -> str:
        """The scores for people, one a line."""
        return score_table(self.protocol, self.scores, self.thresholds_reached, self.remarks)


def _degenerate_remarks(result: Isbi2012Result) -> tuple[str, ...]:
    """Which best scores belong to a threshold that should not be quoted."""
    reached: dict[float, list[str]] = {}
    for name, threshold in result.thresholds_reached.items():
        if threshold is not None and result.is_degenerate(threshold):
            reached.setdefault(threshold, []).append(name)
    return tuple(f"{', '.join(names)}: reached at threshold {shown(threshold)}, where next to all of the proposal "
                 "is one colour; not to be quoted without saying so" for threshold, names in reached.items())
