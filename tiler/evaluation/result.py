"""The result of an evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tiler.geometry import Box
from tiler.metrics import Isbi2012Result, Result
from tiler.report.scores import score_table, shown


@dataclass(frozen=True)
class Evaluation:
    """Scores of a proposal, and the volumes that were compared.

    Parameters
    ----------
    result
        Scores and details of the protocol.
    proposal, labels, mask
        Names of the volumes.
    region
        Compared region of the labels, (z, y, x).
    notes
        Decisions about the input (polarity, rescaling, region) and hints, one line each.
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
        """Scores by which the protocol is quoted."""
        return self.result.headline()

    official = scores

    @property
    def thresholds_reached(self) -> Mapping[str, float | None]:
        """Threshold at which each score was reached; empty for protocols without thresholds."""
        return self.result.thresholds_reached if isinstance(self.result, Isbi2012Result) else {}

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks that readers need before they quote the scores."""
        if not isinstance(self.result, Isbi2012Result):
            return self.notes
        return self.notes + self.result.remarks + _degenerate_remarks(self.result)

    def to_dict(self) -> dict[str, object]:
        """Return plain Python objects, ready for JSON."""
        compared = {"proposal": self.proposal, "labels": self.labels, "mask": self.mask,
                    "region": [list(self.region.start), list(self.region.stop)], "notes": list(self.notes)}
        measured = self.result.to_dict()
        protocol = measured.pop("protocol")
        scores = {name: measured[name] for name in self.scores if name in measured}
        rest = {name: value for name, value in measured.items() if name not in scores}
        return {"protocol": protocol, **compared, **({"scores": scores} if scores else {}), **rest}

    def to_json(self, indent: int | None = None) -> str:
        """Return one JSON object; for ``isbi2012`` with ``official`` and ``thresholds_reached``."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def table(self) -> str:
        """Return the scores as text, one per line."""
        return score_table(self.protocol, self.scores, self.thresholds_reached, self.remarks)


def _degenerate_remarks(result: Isbi2012Result) -> tuple[str, ...]:
    """Name the best scores that were reached at degenerate thresholds."""
    reached: dict[float, list[str]] = {}
    for name, threshold in result.thresholds_reached.items():
        if threshold is not None and result.is_degenerate(threshold):
            reached.setdefault(threshold, []).append(name)
    return tuple(f"{', '.join(names)}: reached at threshold {shown(threshold)}, where nearly all of the proposal "
                 "is one colour; do not quote without saying so" for threshold, names in reached.items())
