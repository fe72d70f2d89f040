"""Counts of true and false positives and negatives, and their ratios."""

from __future__ import annotations

import math
from dataclasses import dataclass

NAN = math.nan


def ratio(part: float, whole: float, empty: float = NAN) -> float:
    """Return ``part / whole``, or ``empty`` if ``whole`` is 0."""
    return part / whole if whole else empty


def harmonic_mean(a: float, b: float) -> float:
    """Return the F score of a precision and a recall; 0 if their sum is 0 or NaN."""
    total = a + b
    return 0.0 if total == 0 or math.isnan(total) else 2 * a * b / total


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a two-class decision about pixels or pairs of pixels; they add up over slices.

    A count is NaN if its metric is 0/0 (foreground pairs of a slice without foreground), and so is every sum with it.

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
        """Share of right decisions: the accuracy of pixels, the Rand index of pairs; NaN without decisions."""
        return 1 - self.disagreement

    @property
    def disagreement(self) -> float:
        return ratio(self.fp + self.fn, self.total)

    def precision(self, empty: float = 1.0) -> float:
        """Return ``tp / (tp + fp)``, or ``empty`` if nothing was found."""
        return ratio(self.tp, self.tp + self.fp, empty)

    def recall(self, empty: float = 1.0) -> float:
        """Return ``tp / (tp + fn)``, or ``empty`` if there is nothing to find."""
        return ratio(self.tp, self.tp + self.fn, empty)

    def f_score(self, empty: float = 1.0) -> float:
        return harmonic_mean(self.precision(empty), self.recall(empty))

    def specificity(self, empty: float = 1.0) -> float:
        """Return ``tn / (tn + fp)``, or ``empty`` if there are no negatives."""
        return ratio(self.tn, self.tn + self.fp, empty)


UNDEFINED = Counts(NAN, NAN, NAN, NAN)
