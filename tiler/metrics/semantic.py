"""Protocol ``semantic``: metrics of classes, all computed from a confusion matrix that adds up over blocks.

References
----------
Long, Shelhamer and Darrell, Fully convolutional networks for semantic segmentation (2015),
10.1109/CVPR.2015.7298965: pixel accuracy, mean accuracy, mean and frequency-weighted IoU;
Dice (1945), 10.2307/1932409.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tiler.errors import PlanError
from tiler.metrics.checks import identifiers, is_void, same_shape
from tiler.metrics.result import Result
from tiler.metrics.statistics import Counts
from tiler.ports import Array

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Confusion matrix of classes; sums over blocks are exact, and every score is computed from the sum.

    Parameters
    ----------
    counts
        ``(classes, classes)`` int64: ``counts[i, j]`` voxels of true class i were given class j. Ignored voxels do not
        count.
    """

    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, proposal: Array, labels: Array, classes: int, ignore: int | None = None) -> ConfusionMatrix:
        """Count one block.

        Parameters
        ----------
        proposal, labels
            Any shape, integers: the class of each voxel.
        classes
            Number of classes.
        ignore
            Label of voxels that are not scored, whatever was proposed there; any integer.

        Raises
        ------
        PlanError
            Shapes differ, or a value is not a class from 0 to ``classes - 1``.
        """
        same_shape(proposal, labels)
        if ignore is not None:
            scored = ~is_void(labels, [ignore])
            labels, proposal = labels[scored], proposal[scored]
        true = identifiers(labels, "labels")
        found = identifiers(proposal, "classes of the proposal")
        for name, values in (("labels", true), ("proposal", found)):
            if values.size and values.max() >= classes:
                raise PlanError(f"the {name} hold class {values.max()}, there are {classes} classes from 0 "
                                "(`classes`; `ignore_label` for what is not to be scored)")
        cells = true.ravel().astype(np.int64) * classes + found.ravel().astype(np.int64)
        return cls(np.bincount(cells, minlength=classes * classes).reshape(classes, classes))

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if self.counts.shape != other.counts.shape:
            raise PlanError(f"confusion matrices of {len(self.counts)} and {len(other.counts)} classes "
                            "do not add up")
        return ConfusionMatrix(self.counts + other.counts)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def _right(self) -> Floats:
        return np.diagonal(self.counts).astype(np.float64)

    @property
    def _true(self) -> Floats:
        return np.asarray(self.counts.sum(1), np.float64)

    @property
    def _found(self) -> Floats:
        return np.asarray(self.counts.sum(0), np.float64)

    @property
    def pixel_accuracy(self) -> float:
        """Share of voxels with the right class, ``sum n_ii / sum t_i``."""
        return float(self._right.sum() / self._true.sum())

    @property
    def accuracy(self) -> Floats:
        """Accuracy of each class, ``n_ii / t_i``; NaN for a class that the labels do not hold."""
        return _share(self._right, self._true)

    @property
    def iou(self) -> Floats:
        """IoU of each class, ``n_ii / (t_i + sum_j n_ji - n_ii)``; NaN for a class in neither labels nor proposal."""
        return _share(self._right, self._true + self._found - self._right)

    @property
    def dice(self) -> Floats:
        """Dice coefficient of each class, ``2 n_ii / (t_i + sum_j n_ji)``; NaN as for `iou`."""
        return _share(2 * self._right, self._true + self._found)

    @property
    def mean_accuracy(self) -> float:
        return float(np.nanmean(self.accuracy))

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes that occur; a class that occurs only in the proposal counts as 0."""
        return float(np.nanmean(self.iou))

    @property
    def mean_dice(self) -> float:
        return float(np.nanmean(self.dice))

    @property
    def frequency_weighted_iou(self) -> float:
        """IoU weighted by true voxels, ``sum t_i IoU_i / sum t_i``."""
        return float(np.nansum(self._true * self.iou) / self._true.sum())

    def one_against_rest(self, positive: int) -> Counts:
        """Count true and false positives and negatives, with one class as positive and all others as negative."""
        tp = int(self.counts[positive, positive])
        found, true = int(self._found[positive]), int(self._true[positive])
        return Counts(tp, found - tp, true - tp, self.total - found - true + tp)


def _share(part: Floats, whole: Floats) -> Floats:
    share = np.full(len(whole), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


@dataclass(frozen=True)
class SemanticResult(Result):
    """Scores of a confusion matrix.

    Parameters
    ----------
    matrix
        Confusion matrix of the whole data set, the sum over its blocks and images.
    classes
        Name of each class.

    Raises
    ------
    PlanError
        No voxel is scored, or there are two classes and the labels hold only one of them.
    """

    protocol: ClassVar[str] = "semantic"

    matrix: ConfusionMatrix
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        true = self.matrix.counts.sum(1)
        if not true.any():
            raise PlanError("there is nothing to score: every voxel bears the label to ignore (`ignore_label`)")
        if len(self.classes) != len(true):
            raise PlanError(f"{len(self.classes)} class names were given for {len(true)} classes (`classes`)")
        if len(true) == 2 and not true.all():
            raise PlanError(f"the labels hold only class {self.classes[int(true.argmax())]!r}: precision, recall "
                            "and specificity need voxels of both classes")

    @property
    def binary(self) -> Counts | None:
        """Class 1 against class 0, None for more than two classes."""
        return self.matrix.one_against_rest(1) if len(self.classes) == 2 else None

    def headline(self) -> Mapping[str, float]:
        matrix = self.matrix
        scores = {
            "pixel_accuracy": matrix.pixel_accuracy,
            "mean_accuracy": matrix.mean_accuracy,
            "mean_iou": matrix.mean_iou,
            "frequency_weighted_iou": matrix.frequency_weighted_iou,
            "mean_dice": matrix.mean_dice,
        }
        if self.binary:
            scores |= {"precision": self.binary.precision(), "recall": self.binary.recall(),
                       "f1": self.binary.f_score(), "specificity": self.binary.specificity()}
        return scores

    def details(self) -> Mapping[str, object]:
        columns = {name: getattr(self.matrix, name).tolist() for name in ("accuracy", "iou", "dice")}
        per_class = {name: {score: values[k] for score, values in columns.items()}
                     for k, name in enumerate(self.classes)}
        return {**self.headline(), "per_class": per_class, "confusion_matrix": self.matrix.counts.tolist()}
