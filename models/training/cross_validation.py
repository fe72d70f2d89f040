"""Cross-validation: score a recipe on slices that it was not trained on, holding out every slice once."""

from __future__ import annotations

import csv
import itertools
import statistics
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiler.errors import PlanError
from tiler.models.training.api import TrainingResult, pairs_of, train
from tiler.models.training.checkpoint import write_whole
from tiler.models.training.listening import SilentTraining, TrainingListener
from tiler.models.training.record import Files
from tiler.models.training.validation import SCORES
from tiler.sources import open_source

MEAN, DEVIATION = "mean", "standard deviation"


@dataclass(frozen=True, slots=True)
class Fold:
    """One training of a cross-validation.

    Parameters
    ----------
    held_out
        First held-out slice, and the one after the last, counted through all stacks.
    result
        Its weights and scores.
    """

    held_out: tuple[int, int]
    result: TrainingResult


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """The scores of all folds.

    Parameters
    ----------
    folds
        Results of the folds, in the order of their held-out slices.
    table
        CSV file with the scores of every fold, their mean and their standard deviation.
    """

    folds: tuple[Fold, ...]
    table: Path

    @property
    def summary(self) -> Mapping[str, tuple[float, float]]:
        """Mean and standard deviation of every score over the folds."""
        found = [fold.result.best for fold in self.folds if fold.result.best]
        return {name: (statistics.fmean(values), statistics.stdev(values))
                for name in SCORES for values in [[best[name] for best in found]]}


def cross_validate(
    images: Any,
    labels: Any,
    output: str | Path,
    folds: int,
    *,
    resume: bool = False,
    overwrite: bool = False,
    listener: TrainingListener | None = None,
    stop: threading.Event | None = None,
    **options: Any,
) -> CrossValidation:
    """Train once per fold, on all slices outside the fold, and score on the fold.

    Parameters
    ----------
    images, labels, resume, overwrite, listener, stop, options
        See `tiler.models.train`. With ``resume=True`` finished folds are kept, and the others are trained.
    output
        ``NAME.safetensors``: the weights of the folds are ``NAME.fold1.safetensors`` and so on, the scores
        ``NAME.folds.csv``. No weights of that name itself are written: train on all slices for those.
    folds
        Number of folds. Each holds out neighbouring slices, and all are as equal in length as possible.

    Raises
    ------
    PlanError
        If there are fewer slices than folds, or slices to validate on are given too.
    """
    if options.get("validate") is not None:
        raise PlanError("cross-validation holds out every slice once: leave out `validate`", option="folds")
    output, done = Path(output), []
    for number, held_out in enumerate(ranges_of(slices_in(images, labels), folds), start=1):
        path = output.with_name(f"{output.stem}.fold{number}.safetensors")
        going_on = resume and Files(path).checkpoint.exists()
        result = train(images, labels, path, resume=going_on, overwrite=overwrite, stop=stop, validate=held_out,
                       listener=listener or SilentTraining(), **options)
        done.append(Fold(held_out, result))
    found = CrossValidation(tuple(done), output.with_name(f"{output.stem}.folds.csv"))
    write_whole(found.table, lambda new: _write_table(found, new), "scores")
    return found


def slices_in(images: Any, labels: Any) -> int:
    """Number of slices in all stacks."""
    return sum(open_source(stack).shape[1] for stack, _ in pairs_of(images, labels))


def ranges_of(slices: int, folds: int) -> list[tuple[int, int]]:
    """First and last (not included) slice of each fold: 7 slices in 3 folds are 0:2, 2:4 and 4:7.

    Raises
    ------
    PlanError
        If there are fewer slices than folds, or fewer than two folds.
    """
    if not 2 <= folds <= slices:
        raise PlanError(f"{slices} slices cannot be held out in {folds} folds: give 2 to {slices}",
                        option="folds")
    edges = [slices * number // folds for number in range(folds + 1)]
    return list(itertools.pairwise(edges))


def _write_table(found: CrossValidation, path: Path) -> None:
    rows: list[Sequence[Any]] = [
        (number, f"{fold.held_out[0]}:{fold.held_out[1]}", *((fold.result.best or {}).get(name) for name in SCORES))
        for number, fold in enumerate(found.folds, start=1)]
    for place, what in enumerate((MEAN, DEVIATION)):
        rows.append((what, "", *(found.summary[name][place] for name in SCORES)))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("fold", "held_out", *SCORES), *rows])
