"""The door of the package: names, paths and arrays in; a result, a plan or a report out."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiler.checking.verify import CheckReport, verify
from tiler.errors import PlanError
from tiler.options import Options
from tiler.planning.plan import Plan
from tiler.ports import Array, Listener, Source
from tiler.running.output import output_of
from tiler.running.output_state import Intent
from tiler.running.perform import Silent
from tiler.running.start import Request, opened_for, opened_in_memory, run_in_memory, run_to_file
from tiler.sources import open_source
from tiler.stores.address import Address, Place

if TYPE_CHECKING:
    import dask.array as da

    from tiler.evaluation.result import Evaluation


def open_volume(source: Any, *, axes: str | None = None, channel: Any = None, time: int | None = None) -> Source:
    """A volume that is read by region: ``shape`` (c, z, y, x), ``dtype``, ``read(box)``.

    Parameters
    ----------
    source
        Path of a TIFF, zarr, ``.npy`` or folder of images, or address of a zarr on an object store
        (``s3://``, ``gs://``, ``https://``); a numpy or dask array, or anything with shape,
        dtype and slicing.
    axes
        Names of its axes, where it does not say or says it wrong.
    channel, time
        Channels to keep, time point to choose.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    return open_source(source, axes=axes, channel=channel, time=time)


def plan(source: Any, model: Any, output: str | Path | Address | None = None, *, trust: bool = False,
         **options: Any) -> Plan:
    """What `segment` with the same arguments would do. Reads no voxel.

    Parameters
    ----------
    source, model, trust, **options
        As for `segment`.
    output
        As for `segment`; the plan then tells what it takes of the disk, too.

    Raises
    ------
    TilerError
        If it cannot be done.
    """
    request = Request(source, model, Options(**options), Intent(), trust)
    return (opened_in_memory(request) if output is None else opened_for(request, output_of(output)))[1]


def check(output: str | Path | Address, *, source: Any = None, model: Any = None, trust: bool = False,
          windows: int = 8, seed: int = 0) -> CheckReport:
    """Verify an output: every block against its checksum, and sampled windows with other tiles.

    Parameters
    ----------
    output
        Written by `segment`, its journal beside it.
    source, model
        Where they are now; by default where they were.
    trust
        As for `segment`.
    windows
        How many windows to compute again; 0 verifies checksums alone.
    seed
        Which windows.

    Raises
    ------
    SinkError
        If there is no output.
    JournalError
        If there is no journal, or it is damaged.
    """
    return verify(output_of(output), source, model, trust, windows, seed)


def segment(  # noqa: PLR0913  the door of the package
    source: Any,
    model: Any,
    output: str | Path | Address | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    same_input: bool = False,
    trust: bool = False,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
    **options: Any,
) -> Array | Place:
    """Segment a volume as if all of it had gone through the network at once.

    Parameters
    ----------
    source
        As for `open_volume`.
    model
        Name of a registered model, ``package.module:factory``, ``file.py:factory``, a TorchScript file, a
        ``torch.nn.Module`` or a `tiler.ports.Predictor`.
    output
        ``.zarr``, ``.tif`` or ``.npy`` to write, or ``s3://bucket/key.zarr``; None returns the array.
    resume, overwrite
        What to do with an output that is already there: go on, or start anew.
    verify
        When going on, read the finished blocks again and recompute those that are damaged.
    same_input
        When going on, accept an input of another path or date whose sampled blocks give the same result.
    trust
        Whether TorchScript files, which are programs, may be run.
    listener
        Hears of progress and warnings.
    stop
        Set it from another thread or a signal handler to stop between two blocks.
    **options
        Fields of `tiler.options.Options`: tile, block, batch, memory, roi, kind, ...

    Returns
    -------
    numpy.ndarray, pathlib.Path or tiler.stores.address.Address
        The array, with the input's axes and a leading c where there are several channels; or where the output is.

    Raises
    ------
    TilerError
        In one line; what is finished by then can be resumed.
    """
    intent = Intent(resume, overwrite, verify, same_input)
    request = Request(source, model, Options(**options), intent, trust)
    listener, stop = listener or Silent(), stop or threading.Event()
    if output is None:
        return run_in_memory(request, listener, stop)
    wanted = output_of(output)
    run_to_file(request, wanted, listener, stop)
    return wanted.place


def lazy(source: Any, model: Any, *, trust: bool = False, **options: Any) -> da.Array:
    """The result of `segment` as a dask array, of which each chunk is computed when it is asked for.

    Parameters
    ----------
    source
        As for `open_volume`. The chunks of a dask array become dependencies, so that only the neighbourhood of
        what is asked for is computed.
    model, trust
        As for `segment`.
    **options
        Fields of `tiler.options.Options` that change the result, and ``tile``, ``block``, ``batch``, ``memory``.
        A block is a chunk of the result; by default whole chunks of a dask source.

    Returns
    -------
    dask.array.Array
        With the axes and the type that `segment` would return, and the same values.

    Raises
    ------
    PlanError
        If it cannot be done, or dask is not installed.

    Notes
    -----
    In every process one block at a time is in the network; the other threads read. Each of them holds one window.
    """
    try:
        from tiler.running.lazy_array import lazy_result
    except ModuleNotFoundError as error:
        raise PlanError(f"tiler.lazy needs the package {error.name}: pip install 'em-tiler[dask]'") from error
    return lazy_result(source, model, Options(**options), trust)


def evaluate(  # noqa: PLR0913  the door of the package
    proposal: Any,
    labels: Any,
    protocol: str = "isbi2012",
    *,
    slices: Any = None,
    roi: Any = None,
    mask: Any = None,
    workers: int = 1,
    report: str | Path | None = None,
    image: Any = None,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
    **choices: Any,
) -> Evaluation:
    """Score a segmentation against labels, in little memory whatever their size.

    Parameters
    ----------
    proposal, labels
        As for `open_volume`. For "isbi2012" the proposal is P(cell), by its metadata where `segment` wrote it, and
        labels above 0 are cell; for the others both hold ids or classes: integers, or floats that are whole numbers.
    protocol
        "isbi2012", "semantic", "instances", "snemi3d" or "cremi".
    slices, roi
        What to score: ``"3:8"``, and as for `segment`; in coordinates of the larger volume. A volume that has
        the region's shape is taken as the region.
    mask
        Volume whose zeros are left out; for "isbi2012", by the warping error alone, as in the challenge.
    workers
        Threads.
    report
        HTML file to write.
    image
        What was segmented, to be shown in the report of "isbi2012".
    listener
        Hears of progress and warnings.
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
        In one line: volumes that do not fit together or do not hold what the protocol scores.
    """
    # Compiled metrics: other commands need not wait for them.
    from tiler.evaluation import opening, request, scoring

    listener, stop = listener or Silent(), stop or threading.Event()
    if report is not None:
        scoring.check_writable(report, "--report")
    compared = opening.open_comparison(request.EvaluationRequest(
        proposal=proposal, labels=labels, protocol=protocol, slices=slices, roi=roi, mask=mask, **choices))
    behind = scoring.background(compared, protocol, image, report)
    result = scoring.score(compared, workers, listener, stop)
    if report is not None:
        scoring.report(result, compared, report, behind, listener)
    return result


def measure(
    labels: Any,
    *images: Any,
    output: str | Path | None = None,
    axes: str | None = None,
    workers: int = 2,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Array]:
    """Measure the objects of a volume of any size, and the values of images inside them.

    Parameters
    ----------
    labels
        Integers of one channel, as for `open_volume`: voxels of one number are one object, 0 is background.
    *images
        Volumes of the same size, such as what was segmented or probabilities, as for `open_volume`.
    output
        CSV file to write; ``tiler measure`` writes the same.
    axes
        Names of the axes of all volumes, where the files do not say.
    workers
        Threads.
    listener
        Hears of progress.
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
        Physical columns are left out where the labels do not say how large a voxel is.

    Raises
    ------
    TilerError
        In one line: labels that are no integers, images of another size, a file that cannot be written.
    """
    # Compiled loops: other commands need not wait for them.
    from tiler.evaluation.measuring import Measured, check_table, measure_objects, named, write_csv

    if output is not None:
        check_table(Path(output))
    measured = Measured(open_source(labels, axes=axes), named([open_source(image, axes=axes) for image in images]))
    columns = measure_objects(measured, workers, listener or Silent(), stop or threading.Event())
    if output is not None:
        write_csv(columns, Path(output))
    return columns
