"""Scores of a segmentation, and measures of its objects."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from tiler.api.types import Volume
from tiler.evaluation.request import Choices
from tiler.geometry import Box
from tiler.options import Region, parse_roi, refuse_unknown
from tiler.ports import Array, Listener
from tiler.running.perform import Silent
from tiler.sources import open_source

if TYPE_CHECKING:
    from tiler.evaluation.result import Evaluation


def evaluate(  # noqa: PLR0913  the door of the package
    proposal: Volume,
    labels: Volume,
    protocol: str = "isbi2012",
    *,
    slices: str | None = None,
    roi: Region | str | Box | Sequence[slice] | None = None,
    mask: Volume | None = None,
    workers: int = 1,
    report: str | Path | None = None,
    image: Volume | None = None,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
    **choices: Unpack[Choices],
) -> Evaluation:
    """Score a segmentation against labels of any size, in little memory.

    Parameters
    ----------
    proposal, labels
        As for `open_volume`. For "isbi2012" the proposal is P(cell), by its metadata where `segment` wrote it, and
        labels above 0 are cell; for the others both hold ids or classes: integers, or floats that are whole numbers.
    protocol
        "isbi2012", "semantic", "instances", "snemi3d" or "cremi".
    slices, roi
        Region to score, in coordinates of the larger volume: slices such as ``"3:8"``, or a region as for `segment`.
        A volume that has the region's shape is taken as the region.
    mask
        Voxels where this volume is 0 are left out; for "isbi2012", only from the warping error, as in the challenge.
    workers
        Threads.
    report
        HTML file to write.
    image
        The segmented image, shown in the report of "isbi2012".
    listener
        Receives progress and warnings.
    stop
        Set it from another thread or a signal handler to stop between two slices or blocks.
    **choices
        Further fields of `tiler.evaluation.request.EvaluationRequest`: ``axes``, ``labels_axes`` and ``channel``
        (of the proposal); for "isbi2012" ``invert`` and ``invert_labels`` (membrane is white) and ``rescale``
        (divide integers by the largest value of their type); for "semantic" ``classes`` (names) and
        ``binary`` (all above 0 is class 1); for all but "isbi2012" ``ignore_label`` (any integer: voxels with this
        label are not scored).

    Returns
    -------
    Evaluation
        ``scores``, ``thresholds_reached``, ``to_json()``, ``table()``, and all details in ``result``.

    Raises
    ------
    TilerError
        If the volumes do not fit together or do not hold what the protocol scores; the message is one line.
    """
    # Compiled metrics: other commands need not wait for them.
    from tiler.evaluation import opening, request, scoring

    refuse_unknown(choices, Choices.__annotations__)
    listener, stop = listener or Silent(), stop or threading.Event()
    if report is not None:
        scoring.check_writable(report, "report")
    compared = opening.open_comparison(request.EvaluationRequest(
        proposal=proposal, labels=labels, protocol=protocol, slices=slices, roi=roi, mask=mask, **choices))
    behind = scoring.background(compared, protocol, image, report)
    result = scoring.score(compared, workers, listener, stop)
    if report is not None:
        scoring.report(result, compared, report, behind, listener)
    return result


def measure(
    labels: Volume,
    *images: Volume,
    output: str | Path | None = None,
    roi: Region | str | Box | Sequence[slice] | None = None,
    axes: str | None = None,
    workers: int = 2,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Array]:
    """Measure the objects of a volume of any size, and the values of images inside them.

    Parameters
    ----------
    labels
        Integers with one channel, as for `open_volume`: each number above 0 is an object, 0 is background.
    *images
        Volumes of the same size, such as the segmented image or probabilities, as for `open_volume`.
    output
        ``.csv`` or ``.parquet`` file to write; ``tiler measure`` writes the same. Parquet needs pyarrow.
    roi
        Region to measure, as for `segment`: voxels outside it are not counted, and places are those in the whole
        volume.
    axes
        Names of the axes of all volumes, if the files do not contain them.
    workers
        Threads.
    listener
        Receives progress.
    stop
        Set it from another thread or a signal handler to stop between two blocks.

    Returns
    -------
    dict of numpy.ndarray
        Columns of equal length, rows by ascending ``id``; ``pandas.DataFrame(table)`` takes them as they are.
        ``voxels``; ``volume_UNIT3``, or ``area_UNIT2`` of a single section; the centroid ``z``, ``y``, ``x`` in voxels,
        the middle of the first voxel being 0, and ``z_UNIT``, ``y_UNIT``, ``x_UNIT`` in the world; the box
        ``z_start`` to ``x_stop``, half open; ``sections``, the number of sections that the box extends over;
        ``touches_border``; for each channel of an image ``NAME_mean``, ``NAME_min``, ``NAME_max``, ``NAME_std``.
        Physical columns are left out if the voxel size of the labels is unknown.

    Raises
    ------
    TilerError
        If the labels are not integers, an image has another size, or the file cannot be written; one line.
    """
    # Compiled loops: other commands need not wait for them.
    from tiler.evaluation.measuring import Measured, measure_objects, named
    from tiler.objects.table_files import check_table, write_table

    if output is not None:
        check_table(Path(output))
    region = None if roi is None else parse_roi(roi)
    opened = [open_source(volume, axes=axes, time=None if region is None else region.time)
              for volume in (labels, *images)]
    measured = Measured(opened[0], named(opened[1:]), region)
    columns = measure_objects(measured, workers, listener or Silent(), stop or threading.Event())
    if output is not None:
        write_table(columns, Path(output))
    return columns
