"""The result of protocol ``isbi2012``: curves over the thresholds, and the best of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, reduce
from operator import add, gt, lt
from typing import ClassVar, TypeVar

from tiler.errors import PlanError
from tiler.metrics.isbi2012 import THRESHOLDS, WARPING_THRESHOLDS, SliceScores, score_slice
from tiler.metrics.mismatches import MismatchCounts
from tiler.metrics.result import Result
from tiler.metrics.statistics import Counts
from tiler.metrics.warping import RADIUS
from tiler.ports import Array

Addable = TypeVar("Addable", Counts, MismatchCounts)
Curve = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Headline:
    """Rule that takes a score from its curve.

    Parameters
    ----------
    curve
        Name of the curve.
    error
        Whether 1 - best is quoted.
    lowest
        Whether the lowest value is the best, not the highest.
    start
        Value that the best must surpass.
    """

    curve: str
    error: bool = False
    lowest: bool = False
    start: float = 0.0

    def best(self, curve: Curve) -> tuple[float, float | None]:
        """Return the score and the threshold at which it is first reached, None if no value surpasses the start.

        NaN surpasses nothing.
        """
        surpasses: Callable[[float, float], bool] = lt if self.lowest else gt
        score, reached = self.start, None
        for value, threshold in zip(curve, THRESHOLDS, strict=False):
            if surpasses(value, score):
                score, reached = value, threshold
        return (1 - score if self.error else score), reached


HEADLINES = {
    "v_rand_thinned": Headline("rand_thinned_mean_f"),
    "v_info_thinned": Headline("info_thinned_mean_f"),
    "warping_min_splits_mergers_r20": Headline("splits_mergers", lowest=True, start=math.inf),
    "warping_min_splits_mergers_clustered_r20": Headline("splits_mergers_clusters", lowest=True, start=math.inf),
    "warping_min_all": Headline("warping_error", lowest=True, start=1.0),
    "rand_error_fg": Headline("rand_foreground_f", error=True),
    "rand_error_2012": Headline("rand_2012_f", error=True),
    "rand_error_standard_f": Headline("rand_f", error=True),
    "pixel_error": Headline("pixel_f", error=True),
    "v_rand_thinned_micro": Headline("rand_thinned_f"),
    "v_info_not_thinned": Headline("info_mean_f"),
}


@dataclass(frozen=True)
class Isbi2012Result(Result):
    """Scores of a stack.

    Parameters
    ----------
    slices
        Scores of each slice, in order.

    Raises
    ------
    PlanError
        There are no slices, or they differ in shape.
    """

    protocol: ClassVar[str] = "isbi2012"

    slices: tuple[SliceScores, ...]

    def __post_init__(self) -> None:
        shapes = sorted({scores.shape for scores in self.slices})
        if not shapes:
            raise PlanError("there is nothing to score: no slice was given (`slices`)")
        if len(shapes) > 1:
            raise PlanError(f"the slices of one stack have one shape, these have {shapes[0]} and {shapes[-1]}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of the stack."""
        return (len(self.slices), *self.slices[0].shape)

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Values of each score over the thresholds; the last three over `WARPING_THRESHOLDS`, as shares of pixels."""
        size = math.prod(self.shape)
        left, clusters = self.pooled(lambda s: s.mismatches), self.pooled(lambda s: s.clusters)
        return {
            "pixel_f": _f_scores(self.pooled(lambda s: s.pixel)),
            "pixel_disagreement": self.mean(lambda s: [counts.disagreement for counts in s.pixel]),
            "rand_f": _f_scores(self.pooled(lambda s: [r.rand for r in s.regions])),
            "rand_2012_f": _f_scores(self.pooled(lambda s: [r.rand_2012 for r in s.regions]), empty=0.0),
            "rand_foreground_f": _f_scores(self.pooled(lambda s: [r.rand_foreground for r in s.regions])),
            "rand_thinned_f": _f_scores(self.pooled(lambda s: [r.rand_thinned for r in s.regions])),
            "rand_thinned_mean_f": self.mean(lambda s: [r.rand_thinned.f_score() for r in s.regions]),
            "info_mean_f": self.mean(lambda s: [r.info.f_score for r in s.regions]),
            "info_thinned_mean_f": self.mean(lambda s: [r.info_thinned.f_score for r in s.regions]),
            "warping_error": tuple(counts.total / size for counts in left),
            "splits_mergers": tuple(counts.splits_and_mergers / size for counts in left),
            "splits_mergers_clusters": tuple(counts.splits_and_mergers / size for counts in clusters),
        }

    def mean(self, curve: Callable[[SliceScores], Sequence[float]]) -> Curve:
        """Average over the slices, for each threshold."""
        return tuple(sum(values) / len(values) for values in zip(*map(curve, self.slices), strict=True))

    def pooled(self, curve: Callable[[SliceScores], Sequence[Addable]]) -> list[Addable]:
        """Add up over the slices, for each threshold."""
        return [reduce(add, values) for values in zip(*map(curve, self.slices), strict=True)]

    @cached_property
    def _best(self) -> dict[str, tuple[float, float | None]]:
        return {name: headline.best(self.curves[headline.curve]) for name, headline in HEADLINES.items()}

    @property
    def official(self) -> dict[str, float]:
        """Headline scores under the names of the reference."""
        return {name: score for name, (score, _) in self._best.items()}

    @property
    def thresholds_reached(self) -> dict[str, float | None]:
        """Threshold at which each headline score is first reached; None if nothing surpasses the starting value.

        A minimum can be reached at a threshold that empties the proposal, so look here before you quote it.
        """
        return {name: reached for name, (_, reached) in self._best.items()}

    def is_degenerate(self, threshold: float) -> bool:
        """Whether at least 99.9 % of the proposal is on one side of a threshold, so that scores mean nothing."""
        place = THRESHOLDS.index(threshold)
        white = sum(scores.pixel[place].tp + scores.pixel[place].fp for scores in self.slices)
        return not 1e-3 < white / math.prod(self.shape) < 1 - 1e-3

    def sound_best(self, name: str) -> tuple[float, float | None]:
        """Return a headline score over the thresholds that are not degenerate, and its threshold or None."""
        headline = HEADLINES[name]
        curve = zip(self.curves[headline.curve], THRESHOLDS, strict=False)
        return headline.best(tuple(math.nan if self.is_degenerate(at) else value for value, at in curve))

    def headline(self) -> dict[str, float]:
        return self.official

    def details(self) -> dict[str, object]:
        return {
            "shape": self.shape,
            "official": self.official,
            "thresholds_reached": self.thresholds_reached,
            "thresholds": THRESHOLDS,
            "warping_thresholds": WARPING_THRESHOLDS,
            "per_threshold": self.curves,
            "per_slice": [_slice_details(scores) for scores in self.slices],
            "remarks": self.remarks,
        }

    @property
    def remarks(self) -> tuple[str, ...]:
        """Reasons why scores are conventions rather than measurements."""
        objects = [scores.regions[0].objects for scores in self.slices]
        empty = [str(z) for z, count in enumerate(objects) if count == 0]
        single = [str(z) for z, count in enumerate(objects) if count == 1]
        remarks = []
        if empty:
            remarks.append(f"no object in the labels of slice {', '.join(empty)}: such a slice scores 0 in means, "
                           "and pooled N-squared Rand scores are 0 for the whole stack")
        if single:
            remarks.append(f"a single object in the labels of slice {', '.join(single)}: V_Info is 0 there by "
                           "convention, even for a perfect proposal")
        return tuple(remarks)

    def require_two_classes(self) -> None:
        """Refuse labels that are all cell or all membrane, for which most scores are conventions.

        Raises
        ------
        PlanError
            The labels hold one class only.
        """
        white = sum(scores.pixel[0].tp + scores.pixel[0].fn for scores in self.slices)
        if white in (0, math.prod(self.shape)):
            raise PlanError(f"the labels are all {'cell' if white else 'membrane'}: above 0 is cell, 0 is "
                            "membrane, and Rand, information and warping scores need both (ids of touching objects "
                            "have no membrane: score them with `protocol=snemi3d`, cremi or instances)")


def _f_scores(counts: Sequence[Counts], empty: float = 1.0) -> Curve:
    return tuple(count.f_score(empty) for count in counts)


def _slice_details(scores: SliceScores) -> dict[str, object]:
    """Return the values of one slice over the thresholds."""
    regions = scores.regions
    return {
        "objects": [r.objects for r in regions],
        "segments": [r.segments for r in regions],
        "basins": [r.basins for r in regions],
        "dam_pixels": [r.dams for r in regions],
        "pixel_f": _f_scores(scores.pixel),
        "pixel_disagreement": [counts.disagreement for counts in scores.pixel],
        "rand_f": _f_scores([r.rand for r in regions]),
        "rand_2012_f": _f_scores([r.rand_2012 for r in regions], empty=0.0),
        "rand_foreground_f": _f_scores([r.rand_foreground for r in regions]),
        "rand_thinned_f": _f_scores([r.rand_thinned for r in regions]),
        "info_f": [r.info.f_score for r in regions],
        "info_thinned_f": [r.info_thinned.f_score for r in regions],
        "mismatches": [asdict(counts) for counts in scores.mismatches],
        "clusters": [asdict(counts) for counts in scores.clusters],
    }


class Isbi2012:
    """Accumulator of a stack, slice by slice; a sum holds the slices of the first, then those of the second.

    Parameters
    ----------
    radius
        See `warp`; official scores take 20.
    """

    def __init__(self, radius: int = RADIUS) -> None:
        self.radius = radius
        self.slices: tuple[SliceScores, ...] = ()

    def add(self, proposal: Array, labels: Array, mask: Array | None = None) -> None:
        """Score the next slice; parameters and errors as for `score_slice`."""
        self.slices += (score_slice(proposal, labels, mask, radius=self.radius),)

    def __add__(self, other: Isbi2012) -> Isbi2012:
        if other.radius != self.radius:
            raise PlanError(f"scores with window radius {self.radius} and {other.radius} do not add up")
        both = Isbi2012(self.radius)
        both.slices = self.slices + other.slices
        return both

    def result(self) -> Isbi2012Result:
        return Isbi2012Result(self.slices)
