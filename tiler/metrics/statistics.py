"""True and false positives and negatives, and the ratios made of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

NAN = math.nan


def ratio(part: float, whole: float, empty: float = NAN) -> float:
    """``part / whole``; ``empty`` where there is nothing to divide by."""
    return part / whole if whole else empty


def harmonic_mean(a: float, b: float) -> float:
    """F score of a precision and a recall; 0 where their sum is 0 or NaN."""
    total = a + b
    return 0.0 if total == 0 or math.isnan(total) else 2 * a * b / total


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a two-class decision about pixels or about pairs of pixels; they add up over slices.

    A count is NaN where its metric is 0/0 (foreground pairs of a slice without foreground), and then every
    sum with it is.

    References
    ----------
    ``precision = tp / (tp + fp)``, ``recall = tp / (tp + fn)``, ``F = 2 p r / (p + r)``:
    van Rijsbergen, Information Retrieval (1979), chapter 7.
    """

    tp: float
    fp: float
    fn: float
    tn: float

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def total(self) -> float:
        return self.tp + self.fp + self.fn + self.tn

    @property
    def agreement(self) -> float:
        """Share of right decisions: accuracy of pixels, Rand index of pairs; NaN for none."""
        return 1 - self.disagreement

    @property
    def disagreement(self) -> float:
        return ratio(self.fp + self.fn, self.total)

    def precision(self, empty: float = 1.0) -> float:
        """Share of the found that is right; ``empty`` where nothing was found."""
        return ratio(self.tp, self.tp + self.fp, empty)

    def recall(self, empty: float = 1.0) -> float:
        """Share of the right that was found; ``empty`` where there is nothing to find."""
        return ratio(self.tp, self.tp + self.fn, empty)

    def f_score(self, empty: float = 1.0) -> float:
        return harmonic_mean(self.precision(empty), self.recall(empty))

    def specificity(self, empty: float = 1.0) -> float:
        """Share of the negatives that was left alone."""
        return ratio(self.tn, self.tn + self.fp, empty)


UNDEFINED = Counts(NAN, NAN, NAN, NAN)
