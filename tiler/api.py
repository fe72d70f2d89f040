"""The functions of the package: names, paths and arrays in; a result, a plan or a report out."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from tiler.checking.verify import CheckReport, verify
from tiler.errors import PlanError
from tiler.opening import OpenedModel
from tiler.opening import open_model as opened_once
from tiler.options import Keywords, Options
from tiler.options.documents import documented
from tiler.planning.plan import Plan
from tiler.ports import Array, ArrayLike, Listener, Predictor, Sink, Source, TorchModule
from tiler.running.bars import heard_by
from tiler.running.output import output_of
from tiler.running.output_state import Intent
from tiler.running.own_sink import run_to_sink
from tiler.running.perform import Silent
from tiler.running.start import Request, opened_for, opened_in_memory, run_in_memory, run_to_file
from tiler.sources import open_source
from tiler.sources.axes import Channels
from tiler.sources.volume import VolumeSource
from tiler.stores.address import Address, Place

if TYPE_CHECKING:
    import dask.array as da

    from tiler.evaluation.result import Evaluation

Volume = str | os.PathLike[str] | Address | ArrayLike | Source
Model = str | os.PathLike[str] | TorchModule | Predictor | OpenedModel
Output = str | os.PathLike[str] | Address


class RunKeywords(Keywords, total=False):
    """Keywords of `segment`: options, and what concerns this one run."""

    resume: bool
    overwrite: bool
    verify: bool
    same_input: bool
    trust: bool
    progress: bool
    listener: Listener | None
    stop: threading.Event | None


@overload
def open_volume(source: Output | ArrayLike, *, axes: str | None = None, channel: Channels = None,
                time: int | None = None) -> VolumeSource: ...
@overload
def open_volume(source: Source, *, axes: str | None = None, channel: Channels = None,
                time: int | None = None) -> Source: ...
def open_volume(source: Volume, *, axes: str | None = None, channel: Channels = None,
                time: int | None = None) -> Source:
    """Open a volume that is read by region: ``shape`` (c, z, y, x), ``dtype``, ``read(box)``.

    It can be sliced like an array, ``volume[0, 3:8, :512, :512]``, and ``numpy.asarray`` reads all of it.

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

    Returns
    -------
    tiler.ports.Source
        Opened, but not read.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    return open_source(source, axes=axes, channel=channel, time=time)


@documented
def open_model(model: Model, *, source: Volume | None = None, trust: bool = False,
               **options: Unpack[Keywords]) -> OpenedModel:
    """Open a model once, for several calls of `segment`, `plan` or `lazy`.

    Parameters
    ----------
    model, trust
        As for `segment`.
    source
        A volume of the size that will be segmented; needed for ``average="rot7"`` alone.
    **options
        Those of the options below that belong to a model:

    {options of models}

    Returns
    -------
    tiler.opening.OpenedModel
        Pass it as ``model``. Its files are not read again.

    Raises
    ------
    TilerError
        If the model cannot be opened, or an option belongs to a segmentation.
    """
    return opened_once(model, Options(**options), trust, source)


def plan(source: Volume, model: Model, output: Output | None = None, *, trust: bool = False,
         **options: Unpack[Keywords]) -> Plan:
    """Say what `segment` with the same arguments would do, and refuse what it would refuse. Reads no voxel.

    Parameters
    ----------
    source, model, trust, **options
        As for `segment`.
    output
        As for `segment`; the plan then also says how much disk space it takes.

    Returns
    -------
    tiler.planning.plan.Plan
        ``print(plan)`` shows it as a table.

    Raises
    ------
    TilerError
        If it cannot be done.
    """
    request = Request(source, model, Options(**options), Intent(), trust)
    return (opened_in_memory(request) if output is None else opened_for(request, output_of(output)))[1]


def check(output: Output, *, source: Volume | None = None, model: Model | None = None, trust: bool = False,
          windows: int = 8, seed: int = 0) -> CheckReport:
    """Verify an output: every block against its checksum, and sampled windows with other tiles.

    Parameters
    ----------
    output
        Written by `segment`, with its journal beside it.
    source, model
        Where they are now; by default where they were.
    trust
        As for `segment`.
    windows
        How many windows to compute again; 0 verifies checksums alone.
    seed
        Of the random choice of windows.

    Raises
    ------
    SinkError
        If there is no output.
    JournalError
        If there is no journal, or it is damaged.
    """
    return verify(output_of(output), source, model, trust, windows, seed)


@overload
def segment(source: Volume, model: Model, output: None = None, **options: Unpack[RunKeywords]) -> Array: ...
@overload
def segment(source: Volume, model: Model, output: Output, **options: Unpack[RunKeywords]) -> Place: ...
@overload
def segment(source: Volume, model: Model, output: Sink, **options: Unpack[RunKeywords]) -> Sink: ...
@documented
def segment(  # noqa: PLR0913  each keyword says one thing
    source: Volume,
    model: Model,
    output: Output | Sink | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    same_input: bool = False,
    trust: bool = False,
    progress: bool = False,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
    **options: Unpack[Keywords],
) -> Array | Place | Sink:
    """Segment a volume as if all of it had gone through the network at once.

    Parameters
    ----------
    source
        As for `open_volume`.
    model
        Name of a registered model, ``package.module:factory``, ``file.py:factory``, a model file, a
        ``torch.nn.Module``, a `tiler.ports.Predictor`, or what `open_model` returned.
    output
        ``.zarr``, ``.tif`` or ``.npy`` to write, ``s3://bucket/key.zarr``, or a `tiler.ports.Sink`; None returns the
        array.
    resume, overwrite
        What to do with an output that is already there: go on, or start anew.
    verify
        When going on, read the finished blocks again and recompute those that are damaged.
    same_input
        When going on, accept an input of another path or date whose sampled blocks give the same result.
    trust
        Whether code that a model file brings along may be run.
    progress
        Whether to show a bar, in a terminal or a notebook.
    listener
        Hears of progress and warnings.
    stop
        Set it from another thread or a signal handler to stop between two blocks.
    **options
        Any of these:

    {options}

    Returns
    -------
    numpy.ndarray, pathlib.Path, tiler.stores.address.Address or tiler.ports.Sink
        The array, with the input's axes and a leading c where there are several channels; or the output.

    Raises
    ------
    TilerError
        In one line; what is finished by then can be resumed.
    """
    intent = Intent(resume, overwrite, verify, same_input)
    request = Request(source, model, Options(**options), intent, trust)
    stop = stop or threading.Event()
    with heard_by(listener, progress) as hearing:
        if output is None:
            return run_in_memory(request, hearing, stop)
        if isinstance(output, Sink):
            return run_to_sink(request, output, hearing, stop)
        wanted = output_of(output)
        run_to_file(request, wanted, hearing, stop)
        return wanted.place


def lazy(source: Volume, model: Model, *, trust: bool = False, **options: Unpack[Keywords]) -> da.Array:
    """Return the result of `segment` as a dask array, each chunk of which is computed when it is needed.

    Parameters
    ----------
    source
        As for `open_volume`. The chunks of a dask array become dependencies, so that only the neighbourhood of
        what is asked for is computed.
    model, trust
        As for `segment`.
    **options
        Options of `segment` that change the result, and ``tile``, ``block``, ``batch``, ``memory``.
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
