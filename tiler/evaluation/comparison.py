"""Several proposals for the same labels, side by side, with paired differences between slices."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tiler.errors import PlanError
from tiler.evaluation.result import Evaluation
from tiler.metrics import Isbi2012Result
from tiler.report.scores import SCORES


@dataclass(frozen=True, slots=True)
class Difference:
    """A score of one proposal minus that of the first one, slice by slice.

    Parameters
    ----------
    mean
        Mean over the slices.
    error
        Standard error of the mean; NaN for a single slice.
    better, slices
        Number of slices in which the proposal is better than the first one, and of all slices.
    """

    mean: float
    error: float
    better: int
    slices: int

    @classmethod
    def between(cls, ours: Sequence[float], first: Sequence[float], falls: bool) -> Difference:
        """The difference of two scores by slice; ``falls`` says that lower is better."""
        each = [a - b for a, b in zip(ours, first, strict=True)]
        error = statistics.stdev(each) / math.sqrt(len(each)) if len(each) > 1 else math.nan
        better = sum(value < 0 if falls else value > 0 for value in each)
        return cls(statistics.fmean(each), error, better, len(each))

    def __str__(self) -> str:
        spread = "" if math.isnan(self.error) else f" +- {self.error:.6f}"
        return f"{self.mean:+.6f}{spread}, better in {self.better} of {self.slices} slices"


@dataclass(frozen=True)
class Comparison:
    """Scores of several proposals.

    Parameters
    ----------
    evaluations
        One for each proposal, of the same labels and the same protocol.

    Raises
    ------
    PlanError
        If labels, protocol or region differ.
    """

    evaluations: tuple[Evaluation, ...]

    def __post_init__(self) -> None:
        if len({(each.labels, each.protocol, each.region) for each in self.evaluations}) > 1:
            raise PlanError("proposals can be compared only by the same labels, protocol and region: "
                            + "; ".join(f"{each.proposal} by {each.protocol} in {each.region}"
                                        for each in self.evaluations))

    def differences(self, score: str) -> list[Difference]:
        """Paired differences of each other proposal from the first one; empty for protocols without slices."""
        results = [each.result for each in self.evaluations]
        if not all(isinstance(result, Isbi2012Result) for result in results):
            return []
        first, *others = [_by_slice(result, score) for result in results if isinstance(result, Isbi2012Result)]
        return [Difference.between(ours, first, SCORES[score].falls) for ours in others]

    def table(self) -> str:
        """Return all scores as text: a column for each proposal, then the paired differences by slice."""
        letters = [f"[{number}]" for number in range(1, len(self.evaluations) + 1)]
        names = list(self.evaluations[0].scores)
        rows = [(self.evaluations[0].protocol, *letters, "better"),
                *((name, *(f"{each.scores[name]:.6f}" for each in self.evaluations), SCORES[name].better)
                  for name in names)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
                 for row in rows]
        paired = [f"{name}, {letter} - [1]: {difference}" for name in names
                  for letter, difference in zip(letters[1:], self.differences(name), strict=False)]
        said = [f"{letter} {each.proposal}" for letter, each in zip(letters, self.evaluations, strict=True)]
        notes = [f"note: {letter} {remark}" for letter, each in zip(letters, self.evaluations, strict=True)
                 for remark in each.remarks]
        return "\n".join([*said, *lines, *paired, *notes])

    def to_json(self, indent: int | None = None) -> str:
        """Return one JSON array, with the object of `Evaluation.to_json` for each proposal."""
        return json.dumps([each.to_dict() for each in self.evaluations], indent=indent, allow_nan=False)


def _by_slice(result: Isbi2012Result, score: str) -> list[float]:
    """The score of each slice as a stack of its own, at its own best threshold."""
    return [Isbi2012Result((scores,)).official[score] for scores in result.slices]
