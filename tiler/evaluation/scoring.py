"""Run an evaluation: stream the volumes, score them and write the report."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import PlanError, SinkError
from tiler.evaluation.hints import hints_about
from tiler.evaluation.opening import Comparison
from tiler.evaluation.pair import Part
from tiler.evaluation.request import EvaluationRequest
from tiler.evaluation.result import Evaluation
from tiler.evaluation.streaming import count_blocks, score_slices
from tiler.evaluation.viewing import viewed_slices
from tiler.metrics import (
    ConfusionMatrix,
    ContingencyTable,
    Isbi2012Result,
    Result,
    SemanticResult,
    score_cremi,
    score_instances,
    score_snemi3d,
)
from tiler.ports import Listener
from tiler.report import Viewer, write_page

OBJECTS: dict[str, Callable[[ContingencyTable], Result]] = {
    "instances": score_instances, "snemi3d": score_snemi3d, "cremi": score_cremi}
MOST_CLASSES = 1024  # larger values are ids of objects, not classes


def score(comparison: Comparison, workers: int, listener: Listener, stop: threading.Event) -> Evaluation:
    """Score opened volumes.

    Parameters
    ----------
    comparison
        Opened and aligned volumes.
    workers
        Number of threads, at least 1.
    listener
        Receives progress, notes and hints.
    stop
        Set it to stop between two slices or blocks.

    Raises
    ------
    TilerError
        The volumes do not hold what the protocol scores, or the evaluation was stopped.
    """
    if workers < 1:
        raise PlanError(f"{workers} is not a number of at least 1 (`workers`)")
    for note in comparison.notes:
        listener.warn(note)
    hints: tuple[str, ...] = ()
    if comparison.request.protocol == "isbi2012":
        result: Result = _score_isbi(comparison, workers, listener, stop)
    else:
        table = count_blocks(comparison.pair, workers, listener, stop, void=comparison.request.void)
        result = _score_table(table, comparison)
        hints = hints_about(table, comparison)
        for hint in hints:
            listener.warn(hint)
    pair = comparison.pair
    return Evaluation(result, pair.proposal.source.name, pair.labels.source.name,
                      None if pair.mask is None else pair.mask.source.name, pair.labels.box,
                      comparison.notes + hints)


def _score_isbi(comparison: Comparison, workers: int, listener: Listener, stop: threading.Event) -> Isbi2012Result:
    result = Isbi2012Result(score_slices(comparison.scorer, workers, listener, stop))
    result.require_two_classes()
    return result


def _score_table(table: ContingencyTable, comparison: Comparison) -> Result:
    request = comparison.request
    if not table.total and not table.void:
        raise PlanError("there is nothing to score: the mask is 0 everywhere (`mask`)")
    if request.protocol == "semantic":
        return _score_classes(table, request, comparison.named)
    return OBJECTS[request.protocol](table)


def _score_classes(table: ContingencyTable, request: EvaluationRequest, named: tuple[str, ...]) -> SemanticResult:
    true, found = table.labels, table.segments
    if request.binary:
        true, found = (true > 0).astype(np.uint64), (found > 0).astype(np.uint64)
    highest = int(max(true.max(initial=0), found.max(initial=0)))
    given = tuple(request.classes) if request.classes else None
    names = given or (named if len(named) > highest else tuple(map(str, range(max(2, highest + 1)))))
    if highest >= min(len(names), MOST_CLASSES):
        known = f"{len(given)} classes were named" if given else f"at most {MOST_CLASSES} classes are scored"
        raise PlanError(f"class {highest} occurs, {known} from 0: `ignore_label` for what is not scored, `binary` to "
                        "count everything above 0 as class 1, or score objects (`protocol=instances`)")
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (true.astype(np.intp), found.astype(np.intp)), table.counts)
    return SemanticResult(ConfusionMatrix(counts), names)


def check_writable(path: str | os.PathLike[str], option: str) -> None:
    """Refuse an output file that cannot be written, before time is spent on its contents.

    Raises
    ------
    SinkError
        The folder does not exist or is not writable, or the path is a folder.
    """
    target = Path(path).absolute()
    if target.is_dir() or not target.parent.is_dir() or not os.access(target.parent, os.W_OK):
        raise SinkError(f"cannot write {path}: {'it' if target.is_dir() else target.parent} is "
                        f"{'a folder' if target.is_dir() else 'no folder that can be written'}", option=option)


def background(comparison: Comparison, protocol: str, image: Any, report: Any) -> Part | None:
    """Open the image for the background of the report, before time is spent on scoring.

    Raises
    ------
    TilerError
        There is no report, reports of the protocol show no image, or the image cannot be read or does not fit.
    """
    if image is None:
        return None
    if report is None:
        raise PlanError("the image is shown in the report: give `report` as well, or leave out `image`")
    if protocol != "isbi2012":
        raise PlanError(f"`image` belongs to the protocol isbi2012, not to {protocol}")
    return comparison.beside(image, "image")


def report(evaluation: Evaluation, comparison: Comparison, path: str | os.PathLike[str], image: Part | None,
           listener: Listener) -> None:
    """Write an evaluation as one HTML file.

    Parameters
    ----------
    evaluation, comparison
        Scores, and the compared volumes.
    path
        File to write.
    image
        Result of `background`.
    listener
        Receives progress.

    Raises
    ------
    TilerError
        The file cannot be written.
    """
    viewer: Viewer | None = None
    if isinstance(evaluation.result, Isbi2012Result):
        viewer = viewed_slices(comparison.scorer, evaluation.result, image, listener)
    write_page(path, evaluation.result, evaluation.to_dict(), evaluation.remarks, viewer)
