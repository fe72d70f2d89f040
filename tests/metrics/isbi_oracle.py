"""All values of the reference files of protocol ``isbi2012``, under the names of the reference.

They are compared with the output of Fiji's evaluator. Many of them enter no score, so this is for small stacks only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tiler.metrics.contingency import ContingencyTable
from tiler.metrics.information import Information
from tiler.metrics.isbi2012 import THRESHOLDS, WARPING_THRESHOLDS, Regions, SliceScores, score_slice
from tiler.metrics.isbi2012_result import Isbi2012Result
from tiler.metrics.labelling import label_objects
from tiler.metrics.result import plain
from tiler.metrics.statistics import Counts, harmonic_mean
from tiler.metrics.thinning import thin
from tiler.metrics.warping import warp
from tiler.ports import Array

Stack = Sequence[tuple[Array, Array, Array | None, SliceScores]]
SMALL = 96  # pixels; for slices up to this side the reference also holds mismatches without a window


def evaluate_full(proposal: Array, labels: Array, mask: Array | None = None) -> dict[str, Any]:
    """Score a stack and return all values of the reference files, except those they advise not to reproduce.

    Parameters
    ----------
    proposal, labels, mask
        ``(z, y, x)``, as for `score_slice`; mask None for all pixels.

    Returns
    -------
    values
        JSON; lists have one entry for each threshold, and in ``per_slice`` each entry is a list over the slices.
    """
    masks = [None] * len(labels) if mask is None else list(mask)
    result = Isbi2012Result(tuple(map(score_slice, proposal, labels, masks)))
    stack = list(zip(proposal.astype(np.float32).astype(np.float64), labels.astype(np.float32).astype(np.float64),
                     masks, result.slices, strict=True))
    made = plain({
        "shape_zyx": result.shape,
        "thresholds": THRESHOLDS,
        "warping_thresholds": WARPING_THRESHOLDS,
        "official": result.official,
        **_pixel_values(stack, result),
        **_rand_values(result),
        **_information_values(stack, result),
        **_warping_values(result),
        "per_slice": [[_regions(p > t, scores.regions[k]) for p, _, _, scores in stack]
                      for k, t in enumerate(THRESHOLDS)],
        "warping_per_slice": [[_mismatches(p, truth, where, t) for p, truth, where, _ in stack]
                              for t in WARPING_THRESHOLDS],
    })
    assert isinstance(made, dict)
    return made


def _entry(value: float, counts: Counts, empty: float = 1.0) -> dict[str, float]:
    return {"value": value, **{name: getattr(counts, name) for name in ("tp", "tn", "fp", "fn")},
            "precision": counts.precision(empty), "recall": counts.recall(empty), "f": counts.f_score(empty)}


def _entries(result: Isbi2012Result, curve: Callable[[SliceScores], Sequence[Counts]],
             empty: float = 1.0, invert: bool = False) -> list[dict[str, float]]:
    """Pooled counts, and the mean over slices of their agreement or disagreement."""
    values = result.mean(lambda s: [counts.disagreement if invert else counts.agreement for counts in curve(s)])
    return [_entry(value, counts, empty) for value, counts in zip(values, result.pooled(curve), strict=True)]


def _pixel_values(stack: Stack, result: Isbi2012Result) -> dict[str, Any]:
    return {
        "pixel": _entries(result, lambda s: s.pixel, invert=True),
        "pixel_error_both_thresholded": [
            float(np.mean([np.mean((p > t) != (truth > t)) for p, truth, _, _ in stack])) for t in THRESHOLDS],
        "pixel_error_squared_unthresholded":
            float(np.mean([np.mean((p - truth) ** 2) for p, truth, _, _ in stack])),
    }


def _rand_values(result: Isbi2012Result) -> dict[str, Any]:
    thinned = _entries(result, lambda s: [r.rand_thinned for r in s.regions])
    return {
        "rand_standard": _entries(result, lambda s: [r.rand for r in s.regions]),
        "rand_fg": _entries(result, lambda s: [r.rand_foreground for r in s.regions]),
        "rand_fg_2012": _entries(result, lambda s: [r.rand_2012 for r in s.regions], empty=0.0),
        "rand_fg_error_choose2": result.mean(lambda s: [r.rand_2012.disagreement for r in s.regions]),
        "rand_fg_thinned_macro": [
            {**entry, "f": f} for entry, f in zip(thinned, result.curves["rand_thinned_mean_f"], strict=True)],
        "rand_fg_thinned_micro_f": result.curves["rand_thinned_f"],
    }


def _information_values(stack: Stack, result: Isbi2012Result) -> dict[str, Any]:
    unrestricted = [[_unrestricted(p > t, truth > t) for p, truth, _, _ in stack] for t in THRESHOLDS]
    return {
        "vinfo_fg_f": result.curves["info_mean_f"],
        "vinfo_fg_thinned_f": result.curves["info_thinned_mean_f"],
        "vi_fg": result.mean(lambda s: [r.info.variation for r in s.regions]),
        "vi_all_pixels": [float(np.mean([info.variation for info in row])) for row in unrestricted],
        "vinfo_all_pixels_f": [float(np.mean([_unguarded_f(info) for info in row])) for row in unrestricted],
    }


def _unrestricted(cut: Array, cells: Array) -> Information:
    """Entropies of all pixels as in the evaluator: background is an object in H(T) and H(S), but not in H(T, S).

    The entropy of a single object is 0 or, through rounding, almost 0, and the F score is 0 or far from 0 accordingly.
    The shares are therefore added in the evaluator's order, that of objects numbered row by row.
    """
    table = ContingencyTable.of(*(label_objects(image.T)[0] for image in (cells, cut)))
    shares = table.counts / table.total
    labels, segments = (np.bincount(ids.astype(np.intp), shares) for ids in (table.labels, table.segments))
    return Information(*map(_entropy, (labels, segments, shares[(table.labels > 0) & (table.segments > 0)])))


def _entropy(shares: Array) -> float:
    shares = shares[shares > 0]
    return -float((shares * np.log(shares)).sum())


def _unguarded_f(info: Information) -> float:
    """F score that is 0 only if an entropy is exactly 0."""
    if info.labels == 0 or info.segments == 0:
        return 0.0
    return harmonic_mean(info.mutual / info.labels, info.mutual / info.segments)


def _warping_values(result: Isbi2012Result) -> dict[str, Any]:
    size = math.prod(result.shape)
    return {
        "warping_error": result.curves["warping_error"],
        "warping_all_types_pixels_r20": [c.total / size for c in result.pooled(lambda s: s.mismatches)],
        "warping_all_types_clusters_r20": [c.total / size for c in result.pooled(lambda s: s.clusters)],
    }


def _information_entry(info: Information) -> dict[str, float]:
    return {"h_gt": info.labels, "h_seg": info.segments, "h_gt_given_seg": info.merge,
            "h_seg_given_gt": info.split, "vi": info.variation,
            "precision": info.precision, "recall": info.recall, "f": info.f_score}


def _regions(cut: Array, regions: Regions) -> dict[str, Any]:
    return {
        "n_gt": regions.objects,
        "n_seg": regions.segments,
        "n_basins": regions.basins,
        "n_dam_pixels": regions.dams,
        "thinned_sha256_u16le": _sha256(thin(cut)[0], "<u2"),
        "rand_fg": _entry(regions.rand_foreground.agreement, regions.rand_foreground),
        "rand_fg_thinned": _entry(regions.rand_thinned.agreement, regions.rand_thinned),
        "info_fg": _information_entry(regions.info),
        "info_fg_thinned": _information_entry(regions.info_thinned),
    }


def _mismatches(proposal: Array, truth: Array, mask: Array | None, threshold: float) -> dict[str, Any]:
    windowed = warp(truth, proposal, threshold, mask=mask)
    values = {
        "mismatches": windowed.pixels.total,
        "warped_sha256_u8": _sha256(windowed.warped, "u1"),
        "class_map_r20_sha256_u8": _sha256(windowed.kinds, "u1"),
        "pixels_r20": asdict(windowed.pixels),
        "clusters_r20": asdict(windowed.clusters),
    }
    if max(truth.shape) <= SMALL:
        whole = warp(truth, proposal, threshold, mask=mask, radius=-1)
        values |= {"pixels_global": asdict(whole.pixels), "clusters_global": asdict(whole.clusters)}
    return values


def _sha256(image: Array, dtype: str) -> str:
    return hashlib.sha256(np.ascontiguousarray(image, dtype).tobytes()).hexdigest()
