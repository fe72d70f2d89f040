"""Titles and meanings of the scores, which way is better, and the table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Score:
    """Description of a score.

    Parameters
    ----------
    title
        Title in tables and pages.
    meaning
        Explanation in one sentence.
    falls
        Whether lower is better.
    """

    title: str
    meaning: str
    falls: bool = False

    @property
    def better(self) -> str:
        return "lower" if self.falls else "higher"


SCORES = {
    "v_rand_thinned": Score("V_Rand, thinned",
                            "Rand F score of thinned objects, mean over slices; official since 2015."),
    "v_info_thinned": Score("V_Info, thinned",
                            "Information-theoretic F score of thinned objects, mean over slices; official since 2015."),
    "warping_min_splits_mergers_r20": Score(
        "Warping error", "Share of pixels where warping leaves a split or a merger; official in 2012.", True),
    "warping_min_splits_mergers_clustered_r20": Score(
        "Warping error, clusters", "The same, each connected cluster of pixels counted once.", True),
    "warping_min_all": Score("Warping error, all types", "Share of pixels that warping leaves, of any type.", True),
    "rand_error_fg": Score("Rand error, foreground", "1 - Rand F score in the foreground, N-squared pairs.", True),
    "rand_error_2012": Score("Rand error", "1 - Rand F score in the foreground; official in 2012.", True),
    "rand_error_standard_f": Score("Rand error, all pixels", "1 - Rand F score, membrane being one more object.", True),
    "pixel_error": Score("Pixel error", "1 - F score of the pixels of cells; official in 2012.", True),
    "v_rand_thinned_micro": Score("V_Rand, thinned, pooled", "As V_Rand, pairs pooled over the slices."),
    "v_info_not_thinned": Score("V_Info, not thinned", "As V_Info, of the objects as they are."),
    "pixel_accuracy": Score("Pixel accuracy", "Share of the voxels with the right class."),
    "mean_accuracy": Score("Mean accuracy", "Share of the right voxels of a class, mean over the classes."),
    "mean_iou": Score("Mean IoU", "Intersection over union, mean over the classes."),
    "frequency_weighted_iou": Score("Frequency-weighted IoU", "Intersection over union, weighted by true voxels."),
    "mean_dice": Score("Mean Dice", "Dice coefficient, mean over the classes."),
    "precision": Score("Precision", "Share of what was found that is right."),
    "recall": Score("Recall", "Share of what is there that was found."),
    "f1": Score("F1", "Harmonic mean of precision and recall."),
    "specificity": Score("Specificity", "Share of the negatives that were left alone."),
    "seg": Score("SEG", "Mean IoU of the objects with the segment that covers most of each."),
    "average_precision_50": Score("AP at IoU 0.5", "Matched, among matched, invented and missed objects."),
    "average_precision_50_95": Score("AP at IoU 0.5:0.95", "The same, mean over ten IoU thresholds."),
    "panoptic_quality": Score("Panoptic quality", "Segmentation quality times recognition quality."),
    "segmentation_quality": Score("Segmentation quality", "Mean IoU of matched objects."),
    "recognition_quality": Score("Recognition quality", "F1 of matched objects."),
    "adapted_rand_error": Score("Adapted Rand error", "1 - F score of pairs of voxels in one object.", True),
    "v_info": Score("V_Info", "Information-theoretic F score."),
    "cremi_score": Score("CREMI score", "Geometric mean of variation of information and Rand error.", True),
    "voi_split": Score("VOI split", "Information lost to splits, in bits.", True),
    "voi_merge": Score("VOI merge", "Information lost to mergers, in bits.", True),
}


def score_table(protocol: str, scores: Mapping[str, float], reached: Mapping[str, float | None],
                remarks: Sequence[str] = ()) -> str:
    """Return the scores as text: name, value, which way is better, and the threshold at which each was reached.

    Parameters
    ----------
    protocol
        Name of the protocol, the first word of the table.
    scores
        Names (keys of `SCORES`) and values.
    reached
        Threshold of each score; empty for protocols without thresholds.
    remarks
        Notes to print below the table, one per line.
    """
    head = (protocol, "score", "better", *(("threshold",) if reached else ()))
    rows = [(name, f"{value:.6f}", SCORES[name].better, *((shown(reached[name]),) if reached else ()))
            for name, value in scores.items()]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in (head, *rows)]
    return "\n".join([*lines, *(f"note: {remark}" for remark in remarks)])


def shown(threshold: float | None) -> str:
    """Format a threshold with one decimal, without rounding errors of its sum; "-" for none."""
    return "-" if threshold is None else f"{threshold:.1f}"
